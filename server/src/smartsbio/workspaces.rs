//! Workspaces and usage — documentation sections "Workspaces" and "Usage".

use contract_smartsbio::server::{
    GetUsageError, GetUsageRequest, GetUsageResponse, ListWorkspacesError, ListWorkspacesRequest,
    ListWorkspacesResponse, Usage, Workspaces,
};
use contract_smartsbio::types::{self, Workspace, WorkspaceList};
use sqlx::any::AnyRow;

use super::Service;
use super::access::{Key, Principal, internal};
use crate::platform::clock::{to_datetime, utc_month};
use crate::platform::store::{StoreError, column};

impl Service {
    async fn workspaces(&self, key: &Key) -> Result<Vec<Workspace>, StoreError> {
        let rows =
            sqlx::query("SELECT id, name, created_ms FROM workspaces WHERE organization_id = $1 ORDER BY name, id")
                .bind(&key.organization)
                .fetch_all(self.0.store.reader())
                .await?;
        let one = |row: &AnyRow| {
            Ok(Workspace { id: column(row, 0)?, name: column(row, 1)?, created_at: to_datetime(column(row, 2)?) })
        };
        let mut workspaces = rows.iter().map(one).collect::<Result<Vec<_>, StoreError>>()?;
        workspaces.retain(|workspace| key.lists(&workspace.id));
        Ok(workspaces)
    }

    /// The ids of the workspaces that a key is good for.
    pub(super) async fn workspaces_of(&self, key: &Key) -> Result<Vec<String>, StoreError> {
        Ok(self.workspaces(key).await?.into_iter().map(|workspace| workspace.id).collect())
    }
}

impl Workspaces for Service {
    type Principal = Principal;

    async fn list_workspaces(
        &self,
        caller: &Principal,
        _request: ListWorkspacesRequest,
    ) -> Result<ListWorkspacesResponse, ListWorkspacesError> {
        let workspaces = self.workspaces(caller.key()?).await.map_err(internal)?;
        Ok(ListWorkspacesResponse::Ok(WorkspaceList { workspaces }))
    }
}

impl Usage for Service {
    type Principal = Principal;

    async fn get_usage(
        &self,
        caller: &Principal,
        _request: GetUsageRequest,
    ) -> Result<GetUsageResponse, GetUsageError> {
        let organization = &caller.key()?.organization;
        let now = self.0.clock.now_ms();
        let (month, resets_ms) = utc_month(now);
        let row = sqlx::query(
            "SELECT o.compute_quota, COALESCE(u.used, 0) FROM organizations AS o \
             LEFT JOIN compute_usage AS u ON u.organization_id = o.id AND u.month = $1 WHERE o.id = $2",
        )
        .bind(&month)
        .bind(organization)
        .fetch_one(self.0.store.reader())
        .await
        .map_err(internal)?;
        let start = chrono::NaiveDate::parse_from_str(&format!("{month}-01"), "%Y-%m-%d").map_err(internal)?;
        Ok(GetUsageResponse::Ok(types::Usage {
            organization_id: organization.clone(),
            period_start: start.and_time(chrono::NaiveTime::MIN).and_utc(),
            period_end: to_datetime(resets_ms),
            compute_used: column(&row, 1).map_err(internal)?,
            compute_quota: column(&row, 0).map_err(internal)?,
            resets_at: to_datetime(resets_ms),
        }))
    }
}
