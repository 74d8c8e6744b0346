//! Single calls to other processes of the cell: one connection to each address, opened on first use and again after it ended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headgate_storage_client::wire::{Connection, Dialer, Message, PeerRole};
use tokio::time::timeout;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The connections.
pub(crate) struct Calls {
    dialer: Dialer,
    open: Mutex<HashMap<String, Connection>>,
}

impl Calls {
    pub(crate) fn new(dialer: Dialer) -> Self {
        Self { dialer, open: Mutex::default() }
    }

    /// Asks whoever listens at `address`, which must be `role`; the error says in words why there is no answer.
    pub(crate) async fn call(
        &self,
        address: &str,
        role: &PeerRole,
        message: Message,
    ) -> Result<Message, String> {
        let connection = self.connection(address, role).await?;
        match timeout(ANSWER_MAX, connection.call(message)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("{role} at {address}: {error}")),
            Err(_) => Err(format!("{role} at {address}: no answer in time")),
        }
    }

    async fn connection(&self, address: &str, role: &PeerRole) -> Result<Connection, String> {
        let open =
            |calls: &Self| calls.open.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
        if let Some(connection) = open(self)
            && !connection.is_closed()
            && connection.peer().role == *role
        {
            return Ok(connection);
        }
        // Two callers at the same moment may dial twice; the later connection stays.
        let connection = Connection::open(&self.dialer, address).await.map_err(|error| error.to_string())?;
        if connection.peer().role != *role {
            return Err(format!("{address} is {}, not {role}", connection.peer()));
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, connection| !connection.is_closed());
        open.insert(address.to_owned(), connection.clone());
        Ok(connection)
    }
}
