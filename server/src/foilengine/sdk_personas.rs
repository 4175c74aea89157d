//! SDK Personas — documentation section "SDK Personas".

use contract_foilengine::server::{
    ListMachinesError, ListMachinesRequest, ListMachinesResponse, ListSdkPersonasError, ListSdkPersonasRequest,
    ListSdkPersonasResponse, SdkPersonas,
};
use contract_foilengine::types::{MachineInfo, SdkPersona};

use super::Service;
use super::access::{Principal, internal, persona_from, select_persona};
use super::conversation::{Surface, completions, player, published, reach, session};
use super::definition::Completions;
use crate::platform::store::StoreError;

impl SdkPersonas for Service {
    type Principal = Principal;

    async fn list_sdk_personas(
        &self,
        caller: &Principal,
        _: ListSdkPersonasRequest,
    ) -> Result<ListSdkPersonasResponse, ListSdkPersonasError> {
        let rows = sqlx::query(select_persona!(
            "FROM personas AS p WHERE p.owner_id = $1 AND p.is_published = 1 ORDER BY p.created_ms DESC, p.id DESC"
        ))
        .bind(caller.account()?.to_string())
        .fetch_all(self.0.store.reader())
        .await
        .map_err(internal)?;
        let persona = |row| {
            let found = persona_from(row)?.persona;
            Ok(SdkPersona {
                id: found.id,
                name: found.name,
                description: found.description,
                created_at: found.created_at,
                updated_at: found.updated_at,
            })
        };
        let personas = rows.iter().map(persona).collect::<Result<_, StoreError>>().map_err(internal)?;
        Ok(ListSdkPersonasResponse::Ok(personas))
    }

    async fn list_machines(
        &self,
        caller: &Principal,
        request: ListMachinesRequest,
    ) -> Result<ListMachinesResponse, ListMachinesError> {
        let surface = Surface::Sdk(caller.account()?);
        // One snapshot: sessions and ends must tell of the same moment.
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let found = reach::<ListMachinesError>(&mut snapshot, &surface, request.persona_id).await?;
        let definition = published(&mut snapshot, &found).await.map_err(internal)?;
        let player =
            player(&mut snapshot, &surface, request.persona_id, &request.user_session_id).await.map_err(internal)?;
        let ended = match player {
            Some(player) => completions(&mut snapshot, player).await.map_err(internal)?,
            None => Completions::new(),
        };
        let mut machines = Vec::with_capacity(definition.machines.len());
        for machine in &definition.machines {
            let running = match player {
                Some(player) => session(&mut snapshot, player, Some(machine.id)).await.map_err(internal)?,
                None => None,
            };
            let end = ended.get(&machine.id);
            machines.push(MachineInfo {
                machine_id: machine.id,
                machine_key: machine.machine_key.clone(),
                name: machine.name.clone(),
                description: machine.description.clone(),
                is_available: definition.is_open(machine, &ended),
                is_completed: end.is_some(),
                outcome: end.map(|end| end.outcome),
                score: end.map(|end| end.score).or(running.map(|session| session.standing.score)),
            });
        }
        snapshot.commit().await.map_err(internal)?;
        Ok(ListMachinesResponse::Ok(machines))
    }
}
