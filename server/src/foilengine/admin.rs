//! Admin — operations for administrators.

use contract_foilengine::problems::Forbidden;
use contract_foilengine::server::{Admin, ListAllPersonasError, ListAllPersonasRequest, ListAllPersonasResponse};

use super::Service;
use super::access::{Principal, internal, persona_from, select_persona};
use crate::platform::store::StoreError;

impl Admin for Service {
    type Principal = Principal;

    async fn list_all_personas(
        &self,
        caller: &Principal,
        request: ListAllPersonasRequest,
    ) -> Result<ListAllPersonasResponse, ListAllPersonasError> {
        if !caller.user()?.is_admin {
            return Err(Forbidden::because("Only administrators may do this.").into());
        }
        let rows = sqlx::query(select_persona!("FROM personas AS p ORDER BY p.created_ms DESC, p.id DESC LIMIT $1"))
            .bind(i64::from(request.limit))
            .fetch_all(self.0.store.reader())
            .await
            .map_err(internal)?;
        let personas = rows.iter().map(|row| Ok(persona_from(row)?.persona)).collect::<Result<_, StoreError>>();
        Ok(ListAllPersonasResponse::Ok(personas.map_err(internal)?))
    }
}
