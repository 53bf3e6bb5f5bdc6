//! The index as a copy, for clients that ask it by themselves.

use super::limits::{self, count};
use super::scope::{only_in, peer_of};
use super::{Agent, Service};
use crate::model::Holders;
use crate::proto::copy::{chunks, head};
use crate::proto::v1::{self, index_server::Index};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Index for Service {
    type CopyStream = ReceiverStream<Result<v1::CopyResponse, Status>>;

    async fn copy(
        &self,
        request: Request<v1::CopyRequest>,
    ) -> Result<Response<Self::CopyStream>, Status> {
        count(&self.counters.calls);
        let (peer, asked) = (peer_of(&request)?, request.into_inner());
        let ended = |_| Status::unavailable("the agent ends");
        let permit = Arc::clone(&self.copies).acquire_owned().await.map_err(ended)?;
        let snapshot = self.fresh(asked.min_freshness.as_ref()).await?;
        let only = only_in(&peer, &snapshot)?;
        let holders = if asked.holders && peer.is_privileged {
            self.holders(&snapshot).await?
        } else {
            Holders::new()
        };
        let (sender, receiver) = mpsc::channel(limits::STREAM_MESSAGES_MAX);
        let agent: Arc<Agent> = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let head = head(&snapshot, only, agent.instance, &agent.backend, &holders);
            let messages = chunks(&snapshot, only, &head, agent.secrets);
            // What waits for a slow reader is no work any more.
            drop((snapshot, permit));
            for message in messages {
                if sender.blocking_send(Ok(message)).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
