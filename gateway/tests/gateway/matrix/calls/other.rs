//! Logins, versions, the cluster, and ids of producers.

use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeClusterRequest, InitProducerIdRequest, SaslAuthenticateRequest,
    SaslHandshakeRequest, TransactionalId,
};

use super::super::row::{Asked, Seen};
use super::{seen, text};
use crate::support::Client;
use crate::support::signer::Login;

pub(crate) async fn api_versions(client: &mut Client, version: i16, _: &Login) -> Vec<Seen> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("test"))
        .with_client_software_version(text("1"));
    let response = client.call(version, &request).await;
    assert!(!response.api_keys.is_empty());
    vec![seen(response.error_code)]
}

pub(crate) async fn sasl_handshake(client: &mut Client, version: i16, _: &Login) -> Vec<Seen> {
    let request = SaslHandshakeRequest::default().with_mechanism(text("AWS_MSK_IAM"));
    vec![seen(client.call(version, &request).await.error_code)]
}

pub(crate) async fn sasl_authenticate(client: &mut Client, version: i16, login: &Login) -> Vec<Seen> {
    sasl_handshake(client, 1, login).await;
    let request = SaslAuthenticateRequest::default().with_auth_bytes(login.msk_iam().into());
    vec![seen(client.call(version, &request).await.error_code)]
}

pub(crate) async fn describe_cluster(client: &mut Client, version: i16, _: &Asked) -> Vec<Seen> {
    let response = client.call(version, &DescribeClusterRequest::default()).await;
    assert!(!response.brokers.is_empty());
    vec![seen(response.error_code)]
}

pub(crate) async fn init_producer_id(client: &mut Client, version: i16, _: &Asked) -> Vec<Seen> {
    let request = InitProducerIdRequest::default().with_transactional_id(None);
    let response = client.call(version, &request).await;
    assert_eq!(response.producer_id.0 >= 0, response.error_code == 0);
    vec![seen(response.error_code)]
}

pub(crate) async fn init_transactional_producer_id(
    client: &mut Client,
    version: i16,
    _: &Asked,
) -> Vec<Seen> {
    let id = TransactionalId(text("tx"));
    let request = InitProducerIdRequest::default().with_transactional_id(Some(id));
    vec![seen(client.call(version, &request).await.error_code)]
}
