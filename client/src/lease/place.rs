//! A place in a lease's queue, or a grant that nobody has taken up yet.

use std::time::Duration;

use mainstay_proto::v1;

use crate::mesh::Mesh;
use crate::random;

/// How long to try to tell the mesh that a place is given up.
const LEAVE: Duration = Duration::from_secs(2);

/// Given up when dropped, so that a caller who stops waiting leaves no claim behind that never ends by time.
pub(super) struct Place {
    mesh: Mesh,
    name: String,
    pub incarnation: String,
    /// Whether the mesh may know of it.
    pub taken: bool,
}

impl Place {
    pub fn new(mesh: Mesh, name: &str) -> Place {
        Place { mesh, name: name.to_owned(), incarnation: random::token(8), taken: false }
    }

    /// Gives it up now. Should the mesh not hear of it, a place ends by itself.
    pub async fn leave(mut self) {
        if self.taken {
            leave(self.mesh.clone(), self.name.clone(), self.incarnation.clone()).await;
            // Only now: a caller who stops waiting in here leaves it to `drop`.
            self.taken = false;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.taken
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(leave(self.mesh.clone(), self.name.clone(), self.incarnation.clone()));
        }
    }
}

async fn leave(mesh: Mesh, name: String, incarnation: String) {
    let request = v1::ReleaseRequest { name: name.clone(), token: String::new(), incarnation };
    if let Err(error) = mesh.with_deadline(LEAVE).release_lease(request).await {
        tracing::debug!(%error, name, "could not leave the queue");
    }
}
