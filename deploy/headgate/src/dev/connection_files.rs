//! What tells people and programs how to connect: `dev.json` and the files under `clients/`, readable by their owner alone.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::data_dir::{create_private_dir, write_private};

/// `DATA/dev.json`. Field names are an interface: scripts read them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DevJson {
    pub(crate) bootstrap_iam: String,
    pub(crate) bootstrap_plaintext: Option<String>,
    pub(crate) api_url: String,
    pub(crate) cluster_arn: String,
    pub(crate) cluster_name: String,
    pub(crate) region: String,
    pub(crate) account_id: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) ca_pem_path: String,
    pub(crate) pid: u32,
}

impl DevJson {
    /// Writes all files; `dev.json` last and atomically, so that whoever sees it finds the others.
    pub(crate) fn write(&self, data: &Path) -> Result<()> {
        let clients = data.join("clients");
        create_private_dir(&clients)?;
        write_private(&clients.join("env.sh"), self.env_sh().as_bytes())?;
        write_private(&clients.join("java.properties"), self.java_properties().as_bytes())?;
        write_private(&clients.join("librdkafka.conf"), self.librdkafka_conf().as_bytes())?;
        write_private(&clients.join("producer.py"), self.producer_py().as_bytes())?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        write_private(&data.join("dev.json"), json.as_bytes())
    }

    fn env_sh(&self) -> String {
        format!(
            "# Credentials of the administrator of cluster {}. Usage: source env.sh\n\
             export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\n\
             export AWS_REGION={region}\nexport AWS_DEFAULT_REGION={region}\nexport AWS_EC2_METADATA_DISABLED=true\n\
             unset AWS_SESSION_TOKEN AWS_PROFILE\n",
            self.cluster_name,
            self.access_key_id,
            self.secret_access_key,
            region = self.region,
        )
    }

    fn java_properties(&self) -> String {
        format!(
            "# For Java clients with software.amazon.msk:aws-msk-iam-auth on the class path, after `source env.sh`.\n\
             bootstrap.servers={}\nsecurity.protocol=SASL_SSL\nsasl.mechanism=AWS_MSK_IAM\n\
             sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required;\n\
             sasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMClientCallbackHandler\n\
             ssl.truststore.type=PEM\nssl.truststore.location={}\n",
            self.bootstrap_iam, self.ca_pem_path,
        )
    }

    /// librdkafka has no AWS_MSK_IAM of its own, so its file uses the plaintext listener.
    fn librdkafka_conf(&self) -> String {
        match &self.bootstrap_plaintext {
            Some(bootstrap) => format!("# For kcat -F and other librdkafka tools.\nbootstrap.servers={bootstrap}\n"),
            None => "# The plaintext listener is off (--listen-plaintext). librdkafka needs a token callback for IAM:\n\
                     # see producer.py.\n"
                .to_owned(),
        }
    }

    fn producer_py(&self) -> String {
        format!(
            r#"# pip install confluent-kafka aws-msk-iam-sasl-signer-python; source env.sh; python producer.py
import os

from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
from confluent_kafka import Producer


def token(_config):
    text, expires_ms = MSKAuthTokenProvider.generate_auth_token(os.environ["AWS_REGION"])
    return text, expires_ms / 1000


producer = Producer({{
    "bootstrap.servers": "{bootstrap}",
    "security.protocol": "SASL_SSL",
    "sasl.mechanisms": "OAUTHBEARER",
    "oauth_cb": token,
    "ssl.ca.location": "{ca}",
}})
producer.produce("hello", key="k", value="hello from Python", on_delivery=lambda error, record: print(error or record.offset()))
producer.flush(10)
"#,
            bootstrap = self.bootstrap_iam,
            ca = self.ca_pem_path,
        )
    }

    /// What a person reads when the server is ready.
    pub(crate) fn greeting(&self, data: &Path) -> String {
        let clients = data.join("clients");
        let clients = clients.display();
        let kcat = match &self.bootstrap_plaintext {
            Some(bootstrap) => format!(
                "  echo hello | kcat -b {bootstrap} -P -t hello && kcat -b {bootstrap} -C -t hello -e\n"
            ),
            None => "  (the plaintext listener is off)\n".to_owned(),
        };
        format!(
            "\nHeadgate is ready. Cluster `{}`, {}\n\n  IAM over TLS  {}\n  plaintext     {}\n  control API   {}\n\n\
             kcat\n{kcat}\n\
             Java (kafka-clients with aws-msk-iam-auth)\n  source {clients}/env.sh\n  \
             kafka-console-producer.sh --bootstrap-server {iam} --producer.config {clients}/java.properties --topic hello\n\n\
             Python\n  source {clients}/env.sh\n  \
             pip install confluent-kafka aws-msk-iam-sasl-signer-python && python {clients}/producer.py\n\n\
             Everything a program needs is in {}. Ctrl-C stops.\n",
            self.cluster_name,
            self.cluster_arn,
            self.bootstrap_iam,
            self.bootstrap_plaintext.as_deref().unwrap_or("off"),
            self.api_url,
            data.join("dev.json").display(),
            iam = self.bootstrap_iam,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_file_with_a_secret_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let json = DevJson {
            bootstrap_iam: "localhost:9098".into(),
            bootstrap_plaintext: None,
            api_url: "http://127.0.0.1:9080".into(),
            cluster_arn: "arn:aws:kafka:us-east-1:000000000001:cluster/demo/x-s2".into(),
            cluster_name: "demo".into(),
            region: "us-east-1".into(),
            account_id: "000000000001".into(),
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "secret".into(),
            ca_pem_path: "/ca.pem".into(),
            pid: 1,
        };
        json.write(dir.path()).expect("written");
        for name in
            ["dev.json", "clients", "clients/env.sh", "clients/java.properties", "clients/producer.py"]
        {
            let mode = std::fs::metadata(dir.path().join(name)).expect(name).permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name} is closed to others");
        }
        assert!(!json.greeting(dir.path()).contains("secret"), "the greeting shows no secret");
    }
}
