//! Chat — documentation section "Chat": conversations on the web, with the service's own key for the language model.

use contract_foilengine::server::{
    Chat, InitWebSessionError, InitWebSessionRequest, InitWebSessionResponse, SendWebMessageError,
    SendWebMessageRequest, SendWebMessageResponse,
};

use super::Service;
use super::access::{Principal, model_failure};
use super::conversation::Surface;
use super::pipeline::Steps;

impl Chat for Service {
    type Principal = Principal;

    async fn init_web_session(
        &self,
        caller: &Principal,
        request: InitWebSessionRequest,
    ) -> Result<InitWebSessionResponse, InitWebSessionError> {
        let surface = Surface::Web(caller.user()?.id);
        let (persona, machine) = (request.persona_id, request.machine_id);
        let begun = self.begin::<InitWebSessionError>(surface, persona, machine, request.body, &Steps::own()).await?;
        Ok(InitWebSessionResponse::Ok(begun))
    }

    async fn send_web_message(
        &self,
        caller: &Principal,
        request: SendWebMessageRequest,
    ) -> Result<SendWebMessageResponse, SendWebMessageError> {
        let surface = Surface::Web(caller.user()?.id);
        let (persona, machine, body) = (request.persona_id, request.machine_id, request.body);
        let name = body.user_session_id;
        let judged =
            self.judge::<SendWebMessageError>(surface, persona, machine, &name, body.message, Steps::own()).await?;
        let reply = self.0.provider.answer(&judged.question).await;
        let reply = reply.map_err(|error| model_failure::<SendWebMessageError>(&error))?.text;
        Ok(SendWebMessageResponse::Ok(self.conclude::<SendWebMessageError>(judged, reply).await?))
    }
}
