//! Every request's way: rate of its source, signature, rate of its principal, the operation, the audit line.

use crate::answer::Answer;
use crate::authenticate;
use crate::call::Call;
use crate::components::Components;
use crate::config::ControlConfig;
use crate::error::ApiError;
use crate::lifecycle::Lifecycle;
use crate::limits::Limits;
use crate::metrics::Ending;
use crate::request::ApiRequest;
use crate::service::{Dialect, Service};
use crate::trail::Trail;
use crate::{iam, kafka, native, plain, sts};

/// Everything the operations work with.
pub(crate) struct Api {
    pub(crate) config: ControlConfig,
    pub(crate) components: Components,
    pub(crate) lifecycle: Lifecycle,
    limits: Limits,
}

impl Api {
    pub(crate) fn new(config: ControlConfig, components: Components) -> Self {
        let limits = Limits::new(&config);
        let lifecycle = Lifecycle::new(&config, &components);
        Self { config, components, lifecycle, limits }
    }

    /// Asked before a request's body is read.
    pub(crate) fn admit(&self, request: &ApiRequest) -> Result<(), ApiError> {
        self.limits.check_source(request.source.ip())
    }

    /// Answers a request that was admitted and has arrived whole, whatever it is.
    pub(crate) async fn handle(&self, request: ApiRequest) -> Answer {
        if let Some(answer) = plain::answer(&self.components, &request) {
            return answer;
        }
        let trail = Trail::default();
        let claim = authenticate::claim(&request);
        let service = claim.as_ref().ok().and_then(|claim| Service::from_name(claim.scope().service()));
        let dialect = Dialect::of(service, &request.raw_path);
        let result = match claim {
            Ok(claim) => self.run(&request, &claim, service, &trail).await,
            Err(rejected) => Err(rejected.into()),
        };
        self.record(&request, service, &trail, result.as_ref());
        result.unwrap_or_else(|error| Answer::error(dialect, &error, &request.id))
    }

    /// Answers a request that no operation sees: over its source's rate, too large, too slow.
    pub(crate) fn refuse(&self, request: &ApiRequest, error: &ApiError) -> Answer {
        self.record(request, None, &Trail::default(), Err(error));
        Answer::error(Dialect::of(None, &request.raw_path), error, &request.id)
    }

    async fn run(
        &self,
        request: &ApiRequest,
        claim: &headgate_iam::ClaimedRequest,
        service: Option<Service>,
        trail: &Trail,
    ) -> Result<Answer, ApiError> {
        let operation = service.map(|service| Operation::route(service, request));
        if let Some(Ok(operation)) = &operation {
            drop(trail.action.set(operation.action()));
            if let Operation::Kafka(operation) = operation {
                drop(trail.path.set(operation.path()));
            }
        }
        let verified =
            authenticate::verify(&self.components, &self.config.region, claim, service, request.now).await;
        let verified = verified?;
        let caller = trail.caller.get_or_init(|| verified);
        self.limits.check_principal(caller.principal.arn())?;
        // A service that is not ours never verifies, so there is one here.
        let operation = operation.unwrap_or_else(|| Err(ApiError::internal()))?;
        let call = Call { api: self, request, caller, action: operation.action(), trail };
        operation.run(&call).await
    }

    /// Counts the request, and writes its audit line.
    fn record(
        &self,
        request: &ApiRequest,
        service: Option<Service>,
        trail: &Trail,
        result: Result<&Answer, &ApiError>,
    ) {
        let ending = match result {
            Ok(_) => Ending::Done,
            Err(error) if error.is_throttle() => Ending::Throttled,
            Err(error) if error.is_denial() => Ending::Denied,
            Err(error) if error.code.status < 500 => Ending::ClientError,
            Err(_) => Ending::ServerError,
        };
        self.components.metrics.observe_request(service, ending);
        if ending == Ending::Throttled && !self.limits.is_told() {
            return;
        }
        self.components.audit.record(&trail.record(request, service, result));
    }
}

/// An operation of one of the services, with what its path or parameters say.
enum Operation {
    Kafka(kafka::Operation),
    Iam(iam::Operation),
    Sts(sts::Operation),
    Headgate(native::Operation),
}

impl Operation {
    fn route(service: Service, request: &ApiRequest) -> Result<Self, ApiError> {
        match service {
            Service::Kafka => kafka::Operation::route(request).map(Self::Kafka),
            Service::Iam => iam::Operation::route(request).map(Self::Iam),
            Service::Sts => sts::Operation::route(request).map(Self::Sts),
            Service::Headgate => native::Operation::route(request).map(Self::Headgate),
        }
    }

    /// The name in policies and audit lines.
    fn action(&self) -> String {
        match self {
            Self::Kafka(operation) => format!("kafka:{}", operation.name()),
            Self::Iam(operation) => format!("iam:{}", operation.name()),
            Self::Sts(operation) => format!("sts:{}", operation.name()),
            Self::Headgate(operation) => format!("headgate:{}", operation.name()),
        }
    }

    async fn run(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        match self {
            Self::Kafka(operation) => operation.run(call).await,
            Self::Iam(operation) => operation.run(call).await,
            Self::Sts(operation) => operation.run(call).await,
            Self::Headgate(operation) => operation.run(call).await,
        }
    }
}
