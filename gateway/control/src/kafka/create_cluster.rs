//! CreateClusterV2, and the creation itself, which `/headgate/v1/` shares.

use headgate_metadata::clusters::{self, CreateClusterError};
use headgate_metadata::id::ClusterId;
use headgate_metadata::record::{ClusterLife, ClusterNetworkRecord, ClusterRecord, ClusterState, VpcRecord};
use headgate_metadata::store::MetadataStore;
use headgate_storage_client::routing::{SLOT_SET_SIZE, slot_set};
use serde::{Deserialize, Serialize};

use super::cluster_info::{CLUSTER_TYPE, Serverless, state};
use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::tags::{self, Tags};

/// The longest cluster name.
const NAME_CHARACTERS_MAX: usize = 64;
/// VPCs of one cluster at most, as in MSK Serverless.
const VPCS_MAX: usize = 5;
/// Ids of subnets, or of security groups, told for one VPC at most.
const NETWORK_IDS_MAX: usize = 16;
/// The longest of those ids.
const NETWORK_ID_BYTES_MAX: usize = 128;
/// The header in which AWS's SDKs name all attempts of one call.
const INVOCATION_ID: &str = "amz-sdk-invocation-id";
/// The longest such name; theirs are UUIDs.
const INVOCATION_ID_BYTES_MAX: usize = 128;
/// Ids drawn before it is said that the random source is broken: two of 2^41 ids meet by accident hardly once.
const DRAWS_MAX: u32 = 4;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateClusterRequest {
    cluster_name: Option<String>,
    #[serde(default)]
    tags: Option<Tags>,
    serverless: Option<Serverless>,
    provisioned: Option<serde::de::IgnoredAny>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateClusterResponse<'a> {
    cluster_arn: String,
    cluster_name: &'a str,
    cluster_type: &'static str,
    state: &'static str,
}

pub(super) async fn run(call: &Call<'_>) -> Result<Answer, ApiError> {
    let request: CreateClusterRequest = call.request.json()?;
    let tags = request.tags.unwrap_or_default();
    call.authorize("*", Circumstances { request_tags: Some(&tags), ..Circumstances::default() })?;
    if request.provisioned.is_some() {
        let message = "Only serverless clusters are offered: leave out `provisioned` and send `serverless`.";
        return Err(ApiError::parameter("provisioned", message));
    }
    let serverless = request.serverless.ok_or_else(|| ApiError::missing("serverless"))?;
    let network = network_of(serverless)?;
    let name = request.cluster_name.ok_or_else(|| ApiError::missing("clusterName"))?;
    // SDKs name all attempts of one call alike, so that one whose answer was lost is not told that the name is taken.
    let attempts = call.request.header(INVOCATION_ID).filter(|id| id.len() <= INVOCATION_ID_BYTES_MAX);
    let options = NewCluster {
        name,
        tags,
        auto_create_topics: false,
        network: Some(network),
        creation_token: attempts.map(str::to_owned),
    };
    let cluster = create(call, options).await?;
    Ok(Answer::json(&CreateClusterResponse {
        cluster_arn: cluster.arn(&call.api.config.region),
        cluster_name: &cluster.name,
        cluster_type: CLUSTER_TYPE,
        state: state(cluster.state),
    }))
}

fn network_of(serverless: Serverless) -> Result<ClusterNetworkRecord, ApiError> {
    let iam = serverless.client_authentication.and_then(|auth| auth.sasl).and_then(|sasl| sasl.iam);
    if iam.is_some_and(|iam| iam.enabled == Some(false)) {
        let message =
            "Serverless clusters always use IAM: `clientAuthentication.sasl.iam.enabled` must be true.";
        return Err(ApiError::parameter("clientAuthentication", message));
    }
    let wrong = |message: &str| ApiError::parameter("vpcConfigs", message);
    if serverless.vpc_configs.is_empty() || serverless.vpc_configs.len() > VPCS_MAX {
        return Err(wrong(&format!("A serverless cluster has 1 to {VPCS_MAX} VPC configurations.")));
    }
    let short = |ids: &[String]| {
        ids.len() <= NETWORK_IDS_MAX && ids.iter().all(|id| (1..=NETWORK_ID_BYTES_MAX).contains(&id.len()))
    };
    let mut vpcs = Vec::with_capacity(serverless.vpc_configs.len());
    for config in serverless.vpc_configs {
        if config.subnet_ids.is_empty() || !short(&config.subnet_ids) || !short(&config.security_group_ids) {
            return Err(wrong(&format!("A VPC configuration has 1 to {NETWORK_IDS_MAX} subnet ids.")));
        }
        vpcs.push(VpcRecord { subnet_ids: config.subnet_ids, security_group_ids: config.security_group_ids });
    }
    Ok(ClusterNetworkRecord { vpcs })
}

/// What a creator may say of a cluster.
pub(crate) struct NewCluster {
    pub(crate) name: String,
    pub(crate) tags: Tags,
    pub(crate) auto_create_topics: bool,
    pub(crate) network: Option<ClusterNetworkRecord>,
    /// Names all attempts of one call.
    pub(crate) creation_token: Option<String>,
}

/// Creates a cluster for the caller's account, in the state `CREATING`. The call must be authorized.
pub(crate) async fn create(call: &Call<'_>, new: NewCluster) -> Result<ClusterRecord, ApiError> {
    check_name(&new.name)?;
    tags::check(&new.tags).map_err(|message| ApiError::parameter("tags", message))?;
    for _ in 0..DRAWS_MAX {
        let record = draw(call, &new);
        call.trail.cluster.get_or_init(|| record.id.to_string());
        let (store, ports) = (&*call.api.components.store, call.api.config.cluster_ports.clone());
        match clusters::create_in_network(store, record, ports, new.network.as_ref()).await {
            Ok((cluster, _)) => return Ok(cluster),
            Err(CreateClusterError::IdTaken(_)) => {}
            Err(CreateClusterError::NameTaken { holder }) => {
                if let Some(cluster) = made_by_this_call(store, holder, &new).await? {
                    return Ok(cluster);
                }
                let message = format!("The cluster name already exists: {}", new.name);
                return Err(ApiError {
                    invalid_parameter: Some("clusterName".into()),
                    ..ApiError::new(ApiError::CONFLICT, message)
                });
            }
            Err(CreateClusterError::Store(error)) => return Err(error.into()),
        }
    }
    tracing::error!("the random source repeats itself");
    Err(ApiError::internal())
}

/// The cluster that holds the name, if an earlier attempt of the same call created it.
async fn made_by_this_call(
    store: &dyn MetadataStore,
    holder: ClusterId,
    new: &NewCluster,
) -> Result<Option<ClusterRecord>, ApiError> {
    if new.creation_token.is_none() {
        return Ok(None);
    }
    let holder = clusters::load(store, holder).await?;
    Ok(holder.filter(|cluster| cluster.life.creation_token == new.creation_token && cluster.tags == new.tags))
}

fn draw(call: &Call<'_>, new: &NewCluster) -> ClusterRecord {
    let random = &call.api.components.random;
    let (mut id, mut uuid) = ([0; 8], [0; 16]);
    random(&mut id);
    random(&mut uuid);
    let id = ClusterId::from_random(u64::from_le_bytes(id));
    ClusterRecord {
        id,
        name: new.name.clone(),
        // Amazon's serverless clusters have a suffix of this form behind the UUID; clients treat it as part of it.
        arn_uuid: format!("{}-s1", uuid::Builder::from_random_bytes(uuid).into_uuid()),
        account: call.caller.account,
        created: call.now(),
        state: ClusterState::Creating,
        slot_set: slot_set(id, call.api.config.cell_slots, SLOT_SET_SIZE),
        auto_create_topics: new.auto_create_topics,
        port: None,
        tags: new.tags.clone(),
        life: ClusterLife { creation_token: new.creation_token.clone(), ..ClusterLife::default() },
    }
}

/// Letters, digits and single hyphens inside, which is what ARNs and tools can hold.
fn check_name(name: &str) -> Result<(), ApiError> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let bounded = (1..=NAME_CHARACTERS_MAX).contains(&name.len());
    if plain && bounded && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    let message = format!(
        "A cluster name has 1 to {NAME_CHARACTERS_MAX} characters: letters, digits and hyphens, no hyphen at either end."
    );
    Err(ApiError::parameter("clusterName", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_are_letters_digits_and_inner_hyphens() {
        for name in ["a", "demo", "My-Cluster-2", &"a".repeat(64)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a-", "a_b", "a/b", "ä", "a b", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
