//! How a link is opened: the seam between the link and the network.

use std::future::Future;

use futures::StreamExt;
use futures::stream::BoxStream;
use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// What the mesh says on a link.
pub type LinkStream = BoxStream<'static, Result<v1::MeshMessage, Status>>;

/// Opens links.
pub trait Connector: Send + Sync + 'static {
    /// Opens a link with the leader.
    fn open(&self, outgoing: ReceiverStream<v1::AgentMessage>) -> impl Future<Output = Result<LinkStream, CallError>> + Send;

    /// The mesh wants the certificate renewed before its time.
    fn ask_renewal(&self) {}

    /// Returns when the certificate has been replaced since the call.
    fn replaced(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

impl Connector for Mesh {
    async fn open(&self, outgoing: ReceiverStream<v1::AgentMessage>) -> Result<LinkStream, CallError> {
        Ok(self.link(outgoing).await?.boxed())
    }

    fn ask_renewal(&self) {
        Mesh::ask_renewal(self);
    }

    fn replaced(&self) -> impl Future<Output = ()> + Send {
        let mut replacements = self.identity().replacements();
        async move {
            if replacements.changed().await.is_err() {
                // Nobody is left to replace it.
                std::future::pending().await
            }
        }
    }
}
