//! Which rights a step would lack in a cluster, and what stands in the way of a backup: asked of the agent that acts for it,
//! or that has the connection, for previews.
//!
//! Nobody waits long for an answer, and without one a preview says that it was not looked at.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use mainstay_client::random;
use mainstay_core::catalogue;
use mainstay_core::preview::Preview;
use mainstay_core::preview::rights::{self, Lacking, Question as Asks, Whom};
use mainstay_proto::v1;

use super::reviews::Asked;
use super::{Office, Question};

/// From this level on agents know the question.
const KNOWN: u32 = 5;
/// For one answer: a second less than whoever looks at a preview waits for all of them.
const PATIENCE: Duration = Duration::from_secs(4);
/// For all of them: a client waits for so much longer for a preview than for other answers.
const ALL: Duration = Duration::from_secs(5);
/// Questions that are open at one time for one preview.
const AT_ONCE: usize = 8;

impl Office {
    /// Adds to a preview what is lacking for it, and what could not be looked at.
    pub async fn look_at_rights(&self, preview: &mut Preview) {
        let (questions, mut remarks) = rights::questions(preview);
        let mut open: Vec<bool> = vec![true; questions.len()];
        let asked: Vec<BoxFuture<'_, (usize, Result<Lacking, String>)>> =
            questions.iter().enumerate().map(|(at, question)| async move { (at, self.rights(question).await) }.boxed()).collect();
        let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
        let all = async {
            while let Some((at, answer)) = answers.next().await {
                if let (Some(question), Some(open)) = (questions.get(at), open.get_mut(at)) {
                    *open = false;
                    remarks.extend(question.remarks(&answer));
                }
            }
        };
        // What has not been answered by then is told as that.
        let _ = tokio::time::timeout(ALL, all).await;
        let silent = questions.iter().zip(open).filter(|(_, open)| *open).map(|(question, _)| question);
        remarks.extend(silent.flat_map(|question| question.remarks(&Err(format!("no answer within {} s", ALL.as_secs())))));
        preview.remark(remarks);
    }

    async fn rights(&self, question: &Asks) -> Result<Lacking, String> {
        let state = self.state();
        let mut with = question.with.clone();
        let agent = match &question.whom {
            Whom::Cluster(cluster) => state.acting(cluster).ok_or("none of its agents acts for it now")?,
            Whom::Connection(name) => {
                // What was a pattern so far.
                with.insert(catalogue::CONNECTION_PARAM.to_owned(), name.as_str().into());
                let kind = catalogue::kind(&question.kind).ok_or("its kind is not known")?;
                state.reaches(name, kind).ok_or("no agent that has it is there")?
            }
        };
        let level = state.agents.get(&agent).and_then(|agent| agent.hello.as_ref()).map_or(0, |hello| hello.feature_level);
        if level < KNOWN {
            return Err(format!("its agent {agent} is of an older version"));
        }
        let id = random::number();
        let answered = self.rights_reviews().open(id, &agent);
        let _asked = Asked { reviews: self.rights_reviews(), id };
        let with = serde_json::Value::Object(with).to_string();
        if !self.links().ask(&agent, Question::Rights(v1::ReviewRights { id, kind: question.kind.clone(), with, undoes: question.undoes })) {
            return Err(format!("its agent {agent} is not connected, or has many to answer"));
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(format!("its agent {agent} has not answered within {} s", PATIENCE.as_secs())),
        }
    }
}
