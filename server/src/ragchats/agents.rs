//! Agents — documentation section "Agents".

use contract_ragchats::problems::{AgentNotFound, DataSourceNotFound, InternalError, NotFound};
use contract_ragchats::server::{
    Agents, CreateAgentError, CreateAgentRequest, CreateAgentResponse, DeleteAgentError, DeleteAgentRequest,
    DeleteAgentResponse, GetAgentError, GetAgentRequest, GetAgentResponse, ListAgentsError, ListAgentsRequest,
    ListAgentsResponse, UpdateAgentError, UpdateAgentRequest, UpdateAgentResponse,
};
use contract_ragchats::types::{Agent, AgentCreate, AgentSummary};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::Service;
use super::access::{self, Principal, Role, id, internal, no_agent, small, stranger, viewer, word};
use crate::platform::clock::to_datetime;
use crate::platform::store::{StoreError, Write, column};

/// Settings that the documentation names without a default. Five pieces are about a page of text; a fifth of the
/// question's words is the least that makes a piece worth reading.
const DEFAULT_TOP_K: i64 = 5;
const DEFAULT_SIMILARITY_THRESHOLD: f64 = 0.2;

macro_rules! select_agent {
    ($more:literal) => {
        concat!(
            "SELECT a.id, a.organization_id, a.name, a.description, a.model, a.temperature, a.max_tokens, a.top_k, \
             a.similarity_threshold, a.use_reranking, a.use_hyde, a.use_multi_query, a.use_hybrid_search, \
             a.system_prompt, a.allow_general_knowledge, a.show_sources, a.source_display_mode, a.is_active, \
             a.created_ms, a.updated_ms, \
             (SELECT COUNT(*) FROM agent_data_sources AS l WHERE l.agent_id = a.id), \
             (SELECT CAST(COALESCE(SUM(s.document_count), 0) AS BIGINT) FROM agent_data_sources AS l \
                JOIN data_sources AS s ON s.id = l.data_source_id WHERE l.agent_id = a.id)",
            $more
        )
    };
}
pub(super) use select_agent;

/// Columns that [`select_agent!`] selects; what a query adds begins here.
pub(super) const AGENT_COLUMNS: usize = 22;

/// An agent from a row of [`select_agent!`].
pub(super) fn from_row(row: &AnyRow) -> Result<Agent, StoreError> {
    let flag = |index| column::<i64>(row, index).map(|value| value != 0);
    Ok(Agent {
        id: id(column(row, 0)?)?,
        organization_id: id(column(row, 1)?)?,
        name: column(row, 2)?,
        description: column(row, 3)?,
        model: column(row, 4)?,
        temperature: column(row, 5)?,
        max_tokens: small(column(row, 6)?)?,
        top_k: small(column(row, 7)?)?,
        similarity_threshold: column(row, 8)?,
        use_reranking: flag(9)?,
        use_hyde: flag(10)?,
        use_multi_query: flag(11)?,
        use_hybrid_search: flag(12)?,
        system_prompt: column(row, 13)?,
        allow_general_knowledge: flag(14)?,
        show_sources: flag(15)?,
        source_display_mode: word(column(row, 16)?)?,
        is_active: flag(17)?,
        created_at: to_datetime(column(row, 18)?),
        updated_at: to_datetime(column(row, 19)?),
        data_source_count: column(row, 20)?,
        document_count: column(row, 21)?,
    })
}

fn summary(agent: Agent) -> AgentSummary {
    AgentSummary {
        id: agent.id,
        name: agent.name,
        description: agent.description,
        model: agent.model,
        temperature: agent.temperature,
        max_tokens: agent.max_tokens,
        data_source_count: agent.data_source_count,
        document_count: agent.document_count,
        is_active: agent.is_active,
        created_at: agent.created_at,
        updated_at: agent.updated_at,
    }
}

impl Agents for Service {
    type Principal = Principal;

    async fn list_agents(
        &self,
        caller: &Principal,
        request: ListAgentsRequest,
    ) -> Result<ListAgentsResponse, ListAgentsError> {
        let user = caller.user()?;
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        if let Some(organization) = request.organization
            && access::role(&mut connection, user, organization).await.map_err(internal)?.is_none()
        {
            return Err(stranger().into());
        }
        let rows = sqlx::query(select_agent!(
            " FROM memberships AS m JOIN agents AS a ON a.organization_id = m.organization_id \
             WHERE m.user_id = $1 AND ($2 = '' OR m.organization_id = $2) ORDER BY a.created_ms, a.id"
        ))
        .bind(user.to_string())
        .bind(request.organization.map(|id| id.to_string()).unwrap_or_default())
        .fetch_all(&mut *connection)
        .await
        .map_err(internal)?;
        let agents = rows.iter().map(|row| from_row(row).map(summary)).collect::<Result<_, _>>().map_err(internal)?;
        Ok(ListAgentsResponse::Ok(agents))
    }

    async fn create_agent(
        &self,
        caller: &Principal,
        request: CreateAgentRequest,
    ) -> Result<CreateAgentResponse, CreateAgentError> {
        let (user, new) = (caller.user()?, request.body);
        let mut write = self.0.store.write().await.map_err(internal)?;
        match access::role(write.run(), user, new.organization_id).await.map_err(internal)? {
            None => return Err(NotFound::because("There is no such organization.").into()),
            Some(role) if !role.may_change() => return Err(viewer().into()),
            Some(_) => {}
        }
        let agent = Uuid::new_v4();
        insert(&mut write, agent, &new, self.0.clock.now_ms()).await.map_err(internal)?;
        if let Some(sources) = &new.data_source_ids {
            connect::<CreateAgentError>(&mut write, agent, new.organization_id, sources).await?;
        }
        let row = sqlx::query(select_agent!(" FROM agents AS a WHERE a.id = $1"))
            .bind(agent.to_string())
            .fetch_one(write.run())
            .await
            .map_err(internal)?;
        let created = from_row(&row).map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(CreateAgentResponse::Created(created))
    }

    async fn get_agent(&self, caller: &Principal, request: GetAgentRequest) -> Result<GetAgentResponse, GetAgentError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let (agent, _) = find::<GetAgentError>(&mut connection, caller.user()?, request.agent_id).await?;
        Ok(GetAgentResponse::Ok(agent))
    }

    async fn update_agent(
        &self,
        caller: &Principal,
        request: UpdateAgentRequest,
    ) -> Result<UpdateAgentResponse, UpdateAgentError> {
        let (user, agent, changes) = (caller.user()?, request.agent_id, request.body);
        let mut write = self.0.store.write().await.map_err(internal)?;
        let (before, role) = find::<UpdateAgentError>(write.run(), user, agent).await?;
        if !role.may_change() {
            return Err(viewer().into());
        }
        let flag = |flag: Option<bool>| flag.map(i64::from);
        sqlx::query(
            "UPDATE agents SET name = COALESCE($2, name), description = COALESCE($3, description), \
             model = COALESCE($4, model), temperature = COALESCE($5, temperature), \
             max_tokens = COALESCE($6, max_tokens), top_k = COALESCE($7, top_k), \
             similarity_threshold = COALESCE($8, similarity_threshold), use_reranking = COALESCE($9, use_reranking), \
             use_hyde = COALESCE($10, use_hyde), use_multi_query = COALESCE($11, use_multi_query), \
             use_hybrid_search = COALESCE($12, use_hybrid_search), system_prompt = COALESCE($13, system_prompt), \
             allow_general_knowledge = COALESCE($14, allow_general_knowledge), \
             show_sources = COALESCE($15, show_sources), source_display_mode = COALESCE($16, source_display_mode), \
             is_active = COALESCE($17, is_active), \
             updated_ms = CASE WHEN updated_ms > $18 THEN updated_ms ELSE $18 END WHERE id = $1",
        )
        .bind(agent.to_string())
        .bind(changes.name)
        .bind(changes.description)
        .bind(changes.model.map(|model| model.as_str()))
        .bind(changes.temperature)
        .bind(changes.max_tokens.map(i64::from))
        .bind(changes.top_k.map(i64::from))
        .bind(changes.similarity_threshold)
        .bind(flag(changes.use_reranking))
        .bind(flag(changes.use_hyde))
        .bind(flag(changes.use_multi_query))
        .bind(flag(changes.use_hybrid_search))
        .bind(changes.system_prompt)
        .bind(flag(changes.allow_general_knowledge))
        .bind(flag(changes.show_sources))
        .bind(changes.source_display_mode.map(|mode| mode.as_str()))
        .bind(flag(changes.is_active))
        .bind(self.0.clock.now_ms())
        .execute(write.run())
        .await
        .map_err(internal)?;
        if let Some(sources) = changes.data_source_ids {
            sqlx::query("DELETE FROM agent_data_sources WHERE agent_id = $1")
                .bind(agent.to_string())
                .execute(write.run())
                .await
                .map_err(internal)?;
            connect::<UpdateAgentError>(&mut write, agent, before.organization_id, &sources).await?;
        }
        let (updated, _) = find::<UpdateAgentError>(write.run(), user, agent).await?;
        write.commit().await.map_err(internal)?;
        Ok(UpdateAgentResponse::Ok(updated))
    }

    /// With the agent go its keys, conversations and statistics. What it cost of the month's quota stays spent.
    async fn delete_agent(
        &self,
        caller: &Principal,
        request: DeleteAgentRequest,
    ) -> Result<DeleteAgentResponse, DeleteAgentError> {
        let mut write = self.0.store.write().await.map_err(internal)?;
        let (agent, role) = find::<DeleteAgentError>(write.run(), caller.user()?, request.agent_id).await?;
        if !role.may_change() {
            return Err(viewer().into());
        }
        sqlx::query("DELETE FROM agents WHERE id = $1")
            .bind(agent.id.to_string())
            .execute(write.run())
            .await
            .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(DeleteAgentResponse::NoContent)
    }
}

/// An agent and the user's role over it.
pub(super) async fn find<E>(connection: &mut AnyConnection, user: Uuid, agent: Uuid) -> Result<(Agent, Role), E>
where
    E: From<AgentNotFound> + From<InternalError>,
{
    let row = sqlx::query(select_agent!(
        ", m.role FROM agents AS a JOIN memberships AS m ON m.organization_id = a.organization_id AND m.user_id = $1 \
         WHERE a.id = $2"
    ))
    .bind(user.to_string())
    .bind(agent.to_string())
    .fetch_optional(connection)
    .await
    .map_err(internal)?
    .ok_or_else(|| no_agent(agent))?;
    let role = column(&row, AGENT_COLUMNS).and_then(Role::from_stored).map_err(internal)?;
    Ok((from_row(&row).map_err(internal)?, role))
}

/// Writes a new agent's row, for the API and for demonstrations alike.
pub(super) async fn insert(write: &mut Write, agent: Uuid, new: &AgentCreate, now: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO agents (id, organization_id, name, description, model, temperature, max_tokens, top_k, \
         similarity_threshold, use_reranking, use_hyde, use_multi_query, use_hybrid_search, system_prompt, \
         allow_general_knowledge, show_sources, source_display_mode, is_active, created_ms, updated_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 0, 0, $10, 0, 1, 'inline', 1, $11, $12)",
    )
    .bind(agent.to_string())
    .bind(new.organization_id.to_string())
    .bind(&new.name)
    .bind(new.description.as_deref().unwrap_or_default())
    .bind(new.model.as_str())
    .bind(new.temperature)
    .bind(i64::from(new.max_tokens))
    .bind(DEFAULT_TOP_K)
    .bind(DEFAULT_SIMILARITY_THRESHOLD)
    .bind(new.system_prompt.as_deref().unwrap_or_default())
    .bind(now)
    .bind(now)
    .execute(write.run())
    .await?;
    Ok(())
}

/// Connects an agent to data sources of its own organization; another's are as good as unknown.
pub(super) async fn connect<E>(
    write: &mut Write,
    agent: Uuid,
    organization: Uuid,
    data_sources: &[Uuid],
) -> Result<(), E>
where
    E: From<DataSourceNotFound> + From<InternalError>,
{
    for source in data_sources {
        let known = sqlx::query("SELECT id FROM data_sources WHERE id = $1 AND organization_id = $2")
            .bind(source.to_string())
            .bind(organization.to_string())
            .fetch_optional(write.run())
            .await
            .map_err(internal)?;
        if known.is_none() {
            return Err(
                DataSourceNotFound::because(format!("There is no data source {source} in this organization.")).into()
            );
        }
        // Named twice is connected once.
        sqlx::query("INSERT INTO agent_data_sources (agent_id, data_source_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(agent.to_string())
            .bind(source.to_string())
            .execute(write.run())
            .await
            .map_err(internal)?;
    }
    Ok(())
}
