//! An operation that looks at no credential is told nothing about its caller.

use trueline_goldens::kitchen::server::*;
use trueline_runtime::sse::Events;

struct Service;

impl OddBits for Service {
    type Principal = ();

    async fn greet(&self, _: Option<&()>, _: GreetRequest) -> Result<GreetResponse, GreetError> {
        Ok(GreetResponse::Ok(String::new()))
    }

    async fn log_in(&self, _: &(), _: LogInRequest) -> Result<LogInResponse, LogInError> {
        Ok(LogInResponse::Ok(Default::default()))
    }

    async fn echo(&self, _: EchoRequest) -> Result<EchoResponse, EchoError> {
        Ok(EchoResponse::Ok(Default::default()))
    }

    async fn watch(&self, _: WatchRequest) -> Result<WatchResponse, WatchError> {
        Ok(WatchResponse::Ok(Events::new(futures::stream::empty())))
    }
}

fn main() {}
