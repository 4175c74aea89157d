//! Authentication — documentation section "Authentication".

use contract_foilengine::server::{
    Authentication, GetCurrentUserError, GetCurrentUserRequest, GetCurrentUserResponse, MigrateProgressError,
    MigrateProgressRequest, MigrateProgressResponse,
};
use contract_foilengine::types::{MigrateProgressResult, User};

use super::Service;
use super::access::{Principal, internal};
use crate::platform::store::column;

impl Authentication for Service {
    type Principal = Principal;

    async fn get_current_user(
        &self,
        caller: &Principal,
        _: GetCurrentUserRequest,
    ) -> Result<GetCurrentUserResponse, GetCurrentUserError> {
        let user = caller.user()?;
        Ok(GetCurrentUserResponse::Ok(User {
            id: user.id,
            email: user.email.clone(),
            display_name: user.display_name.clone(),
        }))
    }

    async fn migrate_progress(
        &self,
        caller: &Principal,
        request: MigrateProgressRequest,
    ) -> Result<MigrateProgressResponse, MigrateProgressError> {
        let (user, old) = (caller.user()?.id.to_string(), request.body.old_session_id);
        let mut write = self.0.store.write().await.map_err(internal)?;
        // A player is taken over whole: sessions, messages, ends and variables hang on it. Where the user is a player of the
        // persona under this name already, that one stays.
        let free = "surface = 'web' AND user_id = '' AND user_session_id = $1 AND NOT EXISTS (SELECT 1 FROM players AS own \
                    WHERE own.persona_id = players.persona_id AND own.surface = 'web' AND own.user_id = $2 \
                    AND own.user_session_id = $1)";
        let count = format!(
            "SELECT COUNT(*) FROM sessions_of_players AS s WHERE s.player_id IN (SELECT id FROM players WHERE {free})"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(count))
            .bind(&old)
            .bind(&user)
            .fetch_one(write.run())
            .await
            .map_err(internal)?;
        let migrated_sessions = column(&row, 0).map_err(internal)?;
        drop(row);
        sqlx::query(sqlx::AssertSqlSafe(format!("UPDATE players SET user_id = $2 WHERE {free}")))
            .bind(&old)
            .bind(&user)
            .execute(write.run())
            .await
            .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(MigrateProgressResponse::Ok(MigrateProgressResult { migrated_sessions }))
    }
}
