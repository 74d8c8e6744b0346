//! GetBill: a period's bill of the caller's account, as a table, JSON or CSV.

use headgate_metadata::clusters;
use headgate_metering::bill::GroupBy;
use headgate_metering::period::Period;
use headgate_metering::render::{Format, render};

use crate::answer::Answer;
use crate::bill::{BillQuery, BillSourceError};
use crate::call::{Call, Circumstances};
use crate::error::ApiError;

pub(super) async fn get(call: &Call<'_>) -> Result<Answer, ApiError> {
    let query = call.request.query()?;
    let account = call.caller.account;
    let cluster = match query.get("cluster") {
        None => None,
        Some(name) => clusters::by_name(&*call.api.components.store, account, name).await?,
    };
    let resource =
        cluster.as_ref().map_or_else(|| "*".to_owned(), |cluster| cluster.arn(&call.api.config.region));
    call.authorize(&resource, Circumstances::default())?;
    if let Some(cluster) = &cluster {
        call.note_cluster(cluster.id);
    } else if let Some(name) = query.get("cluster") {
        return Err(ApiError::new(ApiError::NOT_FOUND, format!("There is no cluster named {name}.")));
    }
    let by = match query.get("by") {
        None | Some("cluster") => GroupBy::Cluster,
        Some("topic") => GroupBy::Topic,
        Some("partition") => GroupBy::Partition,
        Some(_) => return Err(ApiError::parameter("by", "by must be cluster, topic or partition.")),
    };
    let (format, content_type) = match query.get("format") {
        None | Some("json") => (Format::Json, "application/json"),
        Some("table") => (Format::Table, "text/plain; charset=utf-8"),
        Some("csv") => (Format::Csv, "text/csv; charset=utf-8"),
        Some(_) => return Err(ApiError::parameter("format", "format must be table, json or csv.")),
    };
    let period = Period::parse(query.get("from"), query.get("to"), call.now())
        .map_err(|error| ApiError::malformed(error.to_string()))?;
    let query = BillQuery { account, cluster: cluster.map(|cluster| cluster.id), period };
    let bill = call.api.components.bills.bill(query).await.map_err(|error| failed(&error))?;
    let text = render(&bill, by, format).map_err(|error| {
        tracing::error!(%error, "bill not written");
        ApiError::internal()
    })?;
    Ok(Answer::new(200, content_type, text))
}

fn failed(error: &BillSourceError) -> ApiError {
    match error {
        BillSourceError::Unavailable { .. } => {
            tracing::warn!(%error, "no bill");
            ApiError::new(ApiError::UNAVAILABLE, "The usage counters cannot be read now. Try again later.")
        }
        BillSourceError::Broken { .. } => {
            tracing::error!(%error, "no bill");
            ApiError::internal()
        }
    }
}
