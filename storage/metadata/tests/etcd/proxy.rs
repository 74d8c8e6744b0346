//! A stretch of network between the store and etcd that can be cut.

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Passes bytes on until it is cut.
pub(crate) struct Proxy {
    port: u16,
    target: u16,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A way to a port of this machine.
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        Self { port, target, task: tokio::spawn(pass(listener, target)) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends all connections and accepts no more.
    pub(crate) async fn cut(&mut self) {
        self.task.abort();
        // Waits until the listener and all streams are gone.
        assert!((&mut self.task).await.expect_err("it never ends by itself").is_cancelled());
    }

    /// Accepts again.
    pub(crate) async fn mend(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.expect("the port is still free");
        self.task = tokio::spawn(pass(listener, self.target));
    }
}

async fn pass(listener: TcpListener, target: u16) {
    // Dropped with this future, which ends the connections.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.expect("the listener is ours");
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(("127.0.0.1", target)).await {
                // Either side may hang up at any time.
                drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
            }
        });
    }
}
