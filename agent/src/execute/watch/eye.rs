//! The way of a gate to whom it asks, made once for all of its probes.

use tokio::sync::OnceCell;

use super::gate::{Asks, Gate};
use super::lines::Follow;
use super::tally::Seen;
use crate::execute::kube::wait::Wanted;
use crate::execute::{Context, http, prometheus};
use crate::kube::resource::Resource;
use crate::kube::{Cluster, ClusterError};

/// Whoever looks for one gate.
pub struct Eye<'g> {
    way: Way<'g>,
    gate: &'g Gate,
    context: &'g Context,
    cluster: &'g Cluster,
    namespace: &'g str,
}

enum Way<'g> {
    Http(Box<http::probe::Ready<'g>>),
    Prometheus(prometheus::probe::Ready<'g>),
    Object { api_version: &'g str, kind: &'g str, wanted: &'g Wanted, resource: OnceCell<Resource> },
    Lines(Follow<'g>),
}

impl<'g> Eye<'g> {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// Why it cannot be asked from here.
    pub fn of(kind: &str, gate: &'g Gate, context: &'g Context, cluster: &'g Cluster, namespace: &'g str) -> Result<Eye<'g>, String> {
        let way = match &gate.asks {
            Asks::Http(probe) => Way::Http(Box::new(probe.ready(context)?)),
            Asks::Prometheus(probe) => Way::Prometheus(probe.ready(kind, context)?),
            Asks::Object { api_version, kind, wanted, .. } => Way::Object { api_version, kind, wanted, resource: OnceCell::new() },
            Asks::LogErrors(wanted) => Way::Lines(Follow::from(wanted, gate.rules.over, context.host.wall())),
        };
        Ok(Eye { way, gate, context, cluster, namespace })
    }

    /// One probe, given up in time.
    pub async fn look(&self) -> Seen {
        let late = || Seen { took_ms: None, problem: Some(format!("no answer within {}", self.gate.timeout)) };
        tokio::time::timeout(self.gate.timeout.as_duration(), self.ask()).await.unwrap_or_else(|_| late())
    }

    async fn ask(&self) -> Seen {
        let seen = |problem: Option<String>| Seen { took_ms: None, problem };
        match &self.way {
            Way::Http(ready) => {
                let answered = ready.ask(self.context).await;
                Seen { took_ms: answered.took_ms, problem: answered.problem }
            }
            Way::Prometheus(ready) => seen(ready.ask().await.err()),
            Way::Object { api_version, kind, wanted, resource } => {
                let looked = async {
                    let resource = resource.get_or_try_init(|| self.cluster.resource(api_version, kind)).await?;
                    wanted.look(self.cluster, resource, self.namespace).await
                };
                seen(looked.await.unwrap_or_else(|error: ClusterError| Err(error.to_string())).err())
            }
            Way::Lines(follow) => seen(follow.look(self.cluster, self.namespace, self.context.host.monotonic()).await.err()),
        }
    }
}
