//! Personas — documentation section "Personas".

use std::collections::BTreeMap;

use contract_foilengine::problems::{BadRequest, Forbidden, InternalServerError, NotFound, Unauthorized};
use contract_foilengine::server::{
    DeletePersonaError, DeletePersonaRequest, DeletePersonaResponse, GetFullPersonaError, GetFullPersonaRequest,
    GetFullPersonaResponse, GetPersonaError, GetPersonaRequest, GetPersonaResponse, ListPersonasError,
    ListPersonasRequest, ListPersonasResponse, Personas, PublishPersonaError, PublishPersonaRequest,
    PublishPersonaResponse, SavePersonaError, SavePersonaRequest, SavePersonaResponse,
};
use contract_foilengine::types::{PersonaDetail, PersonaFull, PersonaSave, PersonaSaved};
use sqlx::AnyConnection;
use uuid::Uuid;

use super::Service;
use super::access::{
    self, PersonaRow, Principal, User, find_persona, id, internal, own_persona, persona_from, select_persona,
};
use super::definition::Definition;
use crate::platform::store::{StoreError, Write, column};

impl Personas for Service {
    type Principal = Principal;

    async fn list_personas(
        &self,
        caller: Option<&Principal>,
        request: ListPersonasRequest,
    ) -> Result<ListPersonasResponse, ListPersonasError> {
        let user = caller.map(Principal::user).transpose()?.map(|user| user.id.to_string());
        let listed = match (request.my_personas, &user) {
            (true, None) => return Err(Unauthorized::because("Your own personas need a token.").into()),
            (true, Some(_)) => select_persona!(
                "FROM personas AS p WHERE p.owner_id = $1 \
                                ORDER BY p.created_ms DESC, p.id DESC LIMIT $2"
            ),
            (false, _) if request.public_only => select_persona!(
                "FROM personas AS p WHERE p.is_published = 1 AND $1 = $1 \
                                ORDER BY p.created_ms DESC, p.id DESC LIMIT $2"
            ),
            (false, _) => select_persona!(
                "FROM personas AS p WHERE p.is_published = 1 OR p.owner_id = $1 \
                                ORDER BY p.created_ms DESC, p.id DESC LIMIT $2"
            ),
        };
        let rows = sqlx::query(listed)
            .bind(user.unwrap_or_default())
            .bind(i64::from(request.limit))
            .fetch_all(self.0.store.reader())
            .await
            .map_err(internal)?;
        let personas = rows.iter().map(|row| Ok(persona_from(row)?.persona)).collect::<Result<_, StoreError>>();
        Ok(ListPersonasResponse::Ok(personas.map_err(internal)?))
    }

    async fn get_persona(
        &self,
        caller: Option<&Principal>,
        request: GetPersonaRequest,
    ) -> Result<GetPersonaResponse, GetPersonaError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let (found, _) = visible::<GetPersonaError>(&mut connection, caller, request.persona_id).await?;
        Ok(GetPersonaResponse::Ok(found.persona))
    }

    async fn get_full_persona(
        &self,
        caller: Option<&Principal>,
        request: GetFullPersonaRequest,
    ) -> Result<GetFullPersonaResponse, GetFullPersonaError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let (found, version) = visible::<GetFullPersonaError>(&mut connection, caller, request.persona_id).await?;
        let definition = definition(&mut connection, found.persona.id, version).await.map_err(internal)?;
        let persona = found.persona;
        Ok(GetFullPersonaResponse::Ok(PersonaFull {
            persona: PersonaDetail {
                id: persona.id,
                name: definition.name,
                description: definition.description,
                is_published: persona.is_published,
                created_at: persona.created_at,
                updated_at: persona.updated_at,
                persona_identity_prompt: definition.identity_prompt,
                perplexity_description: definition.perplexity_description,
            },
            machines: definition.machines,
            variables: definition.variables,
            machine_links: definition.links,
        }))
    }

    async fn delete_persona(
        &self,
        caller: &Principal,
        request: DeletePersonaRequest,
    ) -> Result<DeletePersonaResponse, DeletePersonaError> {
        let mut write = self.0.store.write().await.map_err(internal)?;
        let found = own_persona::<DeletePersonaError>(write.run(), caller.user()?, request.persona_id).await?;
        sqlx::query("DELETE FROM personas WHERE id = $1")
            .bind(found.persona.id.to_string())
            .execute(write.run())
            .await
            .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(DeletePersonaResponse::NoContent)
    }

    async fn publish_persona(
        &self,
        caller: &Principal,
        request: PublishPersonaRequest,
    ) -> Result<PublishPersonaResponse, PublishPersonaError> {
        let mut write = self.0.store.write().await.map_err(internal)?;
        let found = own_persona::<PublishPersonaError>(write.run(), caller.user()?, request.persona_id).await?;
        let persona = found.persona.id;
        if request.body.is_published {
            let definition = definition(write.run(), persona, found.draft).await.map_err(internal)?;
            if let Some(flaw) = definition.flaw() {
                return Err(BadRequest::because(flaw).into());
            }
        }
        let published = publish(&mut write, persona, request.body.is_published, self.0.clock.now_ms()).await;
        published.map_err(internal)?;
        let changed = find_persona::<PublishPersonaError>(write.run(), persona).await?;
        write.commit().await.map_err(internal)?;
        Ok(PublishPersonaResponse::Ok(changed.persona))
    }

    async fn save_persona(
        &self,
        caller: &Principal,
        request: SavePersonaRequest,
    ) -> Result<SavePersonaResponse, SavePersonaError> {
        let (user, now) = (caller.user()?, self.0.clock.now_ms());
        let mut write = self.0.store.write().await.map_err(internal)?;
        let persona = match request.persona_id {
            Some(persona) => {
                own_persona::<SavePersonaError>(write.run(), user, persona).await?;
                persona
            }
            None => Uuid::new_v4(),
        };
        save(&mut write, user, persona, request.body, now).await.map_err(internal)?;
        let saved = find_persona::<SavePersonaError>(write.run(), persona).await?;
        write.commit().await.map_err(internal)?;
        Ok(SavePersonaResponse::Ok(PersonaSaved { persona_id: persona, persona: saved.persona }))
    }
}

/// A persona that the caller may see, and the version: owners see what they saved last, everybody else what was published.
async fn visible<E>(
    connection: &mut AnyConnection,
    caller: Option<&Principal>,
    persona: Uuid,
) -> Result<(PersonaRow, i64), E>
where
    E: From<Unauthorized> + From<Forbidden> + From<NotFound> + From<InternalServerError>,
{
    let user = caller.map(Principal::user).transpose()?;
    let found = find_persona::<E>(connection, persona).await?;
    if user.is_some_and(|user| user.id == found.owner) {
        let version = found.draft;
        return Ok((found, version));
    }
    match found.published.filter(|_| found.persona.is_published) {
        Some(version) => Ok((found, version)),
        None => Err(Forbidden::because("This persona is not published.").into()),
    }
}

/// One version of a persona.
pub(super) async fn definition(
    connection: &mut AnyConnection,
    persona: Uuid,
    version: i64,
) -> Result<Definition, StoreError> {
    let row = sqlx::query("SELECT definition FROM versions WHERE persona_id = $1 AND version = $2")
        .bind(persona.to_string())
        .bind(version)
        .fetch_one(connection)
        .await?;
    serde_json::from_str(column(&row, 0)?).map_err(|error| StoreError::Corrupt(format!("definition: {error}")))
}

/// Writes a definition as the persona's draft, a new persona if there is none of this id.
pub(super) async fn save(
    write: &mut Write,
    user: &User,
    persona: Uuid,
    saved: PersonaSave,
    now: i64,
) -> Result<(), StoreError> {
    access::know(write, user, now).await?;
    sqlx::query(
        "INSERT INTO personas (id, owner_id, name, description, is_published, draft, published, created_ms, updated_ms) \
         VALUES ($1, $2, $3, $4, 0, 0, NULL, $5, $5) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
         description = excluded.description, \
         updated_ms = CASE WHEN personas.updated_ms > $5 THEN personas.updated_ms ELSE $5 END",
    )
    .bind(persona.to_string())
    .bind(user.id.to_string())
    .bind(&saved.persona.name)
    .bind(saved.persona.description.clone().value())
    .bind(now)
    .execute(write.run())
    .await?;
    let machines = saved.machines.iter().flatten();
    let ids = machine_ids(write, persona, machines.map(|machine| machine.machine_key.clone()).collect()).await?;
    let definition = Definition::new(saved, &ids);
    let text = serde_json::to_string(&definition)
        .map_err(|error| StoreError::Corrupt(format!("definition cannot be written: {error}")))?;
    sqlx::query("UPDATE personas SET draft = draft + 1 WHERE id = $1")
        .bind(persona.to_string())
        .execute(write.run())
        .await?;
    sqlx::query(
        "INSERT INTO versions (persona_id, version, definition, created_ms) \
         SELECT id, draft, $2, $3 FROM personas WHERE id = $1",
    )
    .bind(persona.to_string())
    .bind(text)
    .bind(now)
    .execute(write.run())
    .await?;
    forget_versions(write, persona).await
}

/// The ids of machines by their keys: those that the persona has had, new ones for new keys.
async fn machine_ids(
    write: &mut Write,
    persona: Uuid,
    keys: Vec<String>,
) -> Result<BTreeMap<String, Uuid>, StoreError> {
    let rows = sqlx::query("SELECT machine_key, id FROM machines WHERE persona_id = $1")
        .bind(persona.to_string())
        .fetch_all(write.run())
        .await?;
    let mut ids = rows
        .iter()
        .map(|row| Ok((column(row, 0)?, id(column(row, 1)?)?)))
        .collect::<Result<BTreeMap<_, _>, StoreError>>()?;
    for key in keys {
        if ids.contains_key(&key) {
            continue;
        }
        let machine = Uuid::new_v4();
        sqlx::query("INSERT INTO machines (id, persona_id, machine_key) VALUES ($1, $2, $3)")
            .bind(machine.to_string())
            .bind(persona.to_string())
            .bind(&key)
            .execute(write.run())
            .await?;
        ids.insert(key, machine);
    }
    Ok(ids)
}

/// Publishes the draft, or withdraws the persona.
pub(super) async fn publish(write: &mut Write, persona: Uuid, published: bool, now: i64) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE personas SET is_published = $2, published = CASE WHEN $2 = 1 THEN draft ELSE published END, \
         updated_ms = CASE WHEN updated_ms > $3 THEN updated_ms ELSE $3 END WHERE id = $1",
    )
    .bind(persona.to_string())
    .bind(i64::from(published))
    .bind(now)
    .execute(write.run())
    .await?;
    forget_versions(write, persona).await
}

/// Deletes versions that are neither draft nor published, and that no session goes by.
async fn forget_versions(write: &mut Write, persona: Uuid) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM versions WHERE persona_id = $1 \
         AND version NOT IN (SELECT draft FROM personas WHERE id = $1) \
         AND version NOT IN (SELECT COALESCE(published, -1) FROM personas WHERE id = $1) \
         AND version NOT IN (SELECT version FROM sessions_of_players WHERE persona_id = $1)",
    )
    .bind(persona.to_string())
    .execute(write.run())
    .await?;
    Ok(())
}
