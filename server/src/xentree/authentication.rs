//! Accounts and sessions — documentation section "Authentication".

use std::str::FromStr as _;

use chrono_tz::Tz;
use contract_xentree::problems::Unauthorized;
use contract_xentree::server::{
    Authentication, GetCurrentUserError, GetCurrentUserRequest, GetCurrentUserResponse, LoginError, LoginRequest,
    LoginResponse, LogoutError, LogoutRequest, LogoutResponse, RefreshAccessTokenError, RefreshAccessTokenRequest,
    RefreshAccessTokenResponse, RegisterUserError, RegisterUserRequest, RegisterUserResponse, UpdateCurrentUserError,
    UpdateCurrentUserRequest, UpdateCurrentUserResponse,
};
use contract_xentree::types::{self, TokenResponse, TokenResponseTokenType, UserProfile};
use sqlx::AnyConnection;
use trueline_runtime::Patch;

use super::Service;
use super::access::{Credential, Principal, bad_request, internal, new_id, nullable, word};
use super::gate::verified;
use crate::platform::clock::to_datetime;
use crate::platform::store::{StoreError, Write, column};
use crate::platform::tokens::{Secret, TokenPair};

/// The plan of whoever registers.
const FIRST_PLAN: &str = "free";

/// A user as they are written first.
pub(super) struct NewUser<'a> {
    pub(super) id: &'a str,
    pub(super) username: &'a str,
    pub(super) email: &'a str,
    pub(super) full_name: Option<&'a str>,
    pub(super) role: &'a str,
    pub(super) plan: &'a str,
    pub(super) password_hash: &'a str,
}

impl Authentication for Service {
    type Principal = Principal;

    async fn register_user(&self, request: RegisterUserRequest) -> Result<RegisterUserResponse, RegisterUserError> {
        let new = request.body;
        let hash = self.0.passwords.hash(Secret::new(new.password)).await.map_err(internal)?;
        let email = normal_email(&new.email);
        let full_name = new.full_name.value();
        let id = new_id("usr").map_err(internal)?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let taken = sqlx::query("SELECT username FROM users WHERE username = $1 OR email = $2")
            .bind(&new.username)
            .bind(&email)
            .fetch_optional(write.run())
            .await
            .map_err(internal)?;
        if taken.is_some() {
            return Err(bad_request("The username or the email is taken.").into());
        }
        let user = NewUser {
            id: &id,
            username: &new.username,
            email: &email,
            full_name: full_name.as_deref(),
            role: "user",
            plan: FIRST_PLAN,
            password_hash: &hash,
        };
        insert(&mut write, &user, self.0.clock.now_ms()).await.map_err(internal)?;
        let created = self.profile(write.run(), &id).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(RegisterUserResponse::Created(created))
    }

    async fn login(&self, request: LoginRequest) -> Result<LoginResponse, LoginError> {
        let row = sqlx::query("SELECT id, password_hash FROM users WHERE username = $1")
            .bind(request.body.username)
            .fetch_optional(self.0.store.reader())
            .await
            .map_err(internal)?;
        let stored = row.as_ref().map(|row| column(row, 1)).transpose().map_err(internal)?;
        // Asked also when there is no such user, so that both refusals take the same time.
        let matches = self.0.passwords.verify(Secret::new(request.body.password), stored).await.map_err(internal)?;
        let Some(row) = row.filter(|_| matches) else {
            return Err(Unauthorized::because("Username or password is wrong").into());
        };
        let user: String = column(&row, 0).map_err(internal)?;
        let pair = self.0.sessions.open_rotating(&user).await.map_err(internal)?;
        Ok(LoginResponse::Ok(tokens(pair)))
    }

    async fn refresh_access_token(
        &self,
        request: RefreshAccessTokenRequest,
    ) -> Result<RefreshAccessTokenResponse, RefreshAccessTokenError> {
        let rotated = self.0.sessions.rotate(&request.body.refresh_token).await;
        let pair = verified::<RefreshAccessTokenError, _>(rotated)?;
        Ok(RefreshAccessTokenResponse::Ok(tokens(pair)))
    }

    async fn logout(&self, caller: &Principal, _request: LogoutRequest) -> Result<LogoutResponse, LogoutError> {
        if let Credential::Session(session) = &caller.credential {
            self.0.sessions.close(session).await.map_err(internal)?;
        }
        Ok(LogoutResponse::Ok(types::LogoutResponse { message: "Logged out".to_owned(), success: true }))
    }

    async fn get_current_user(
        &self,
        caller: &Principal,
        _request: GetCurrentUserRequest,
    ) -> Result<GetCurrentUserResponse, GetCurrentUserError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        Ok(GetCurrentUserResponse::Ok(self.profile(&mut connection, &caller.user).await.map_err(internal)?))
    }

    async fn update_current_user(
        &self,
        caller: &Principal,
        request: UpdateCurrentUserRequest,
    ) -> Result<UpdateCurrentUserResponse, UpdateCurrentUserError> {
        let changes = request.body;
        if let Patch::Value(zone) = &changes.timezone
            && Tz::from_str(zone).is_err()
        {
            return Err(bad_request("The field \"timezone\" is not a time zone of the IANA database.").into());
        }
        let mut write = self.0.store.write().await.map_err(internal)?;
        // Null clears and absence does not: each column comes with a flag that says whether it is named.
        let flag = |patch: &Patch<String>| i64::from(!patch.is_absent());
        sqlx::query(
            "UPDATE users SET full_name = CASE WHEN $2 = 1 THEN $3 ELSE full_name END, \
             avatar_url = CASE WHEN $4 = 1 THEN $5 ELSE avatar_url END, \
             language = CASE WHEN $6 = 1 THEN $7 ELSE language END, \
             timezone = CASE WHEN $8 = 1 THEN $9 ELSE timezone END WHERE id = $1",
        )
        .bind(&caller.user)
        .bind(flag(&changes.full_name))
        .bind(changes.full_name.value())
        .bind(flag(&changes.avatar_url))
        .bind(changes.avatar_url.value())
        .bind(flag(&changes.language))
        .bind(changes.language.value())
        .bind(flag(&changes.timezone))
        .bind(changes.timezone.value())
        .execute(write.run())
        .await
        .map_err(internal)?;
        let updated = self.profile(write.run(), &caller.user).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(UpdateCurrentUserResponse::Ok(updated))
    }
}

impl Service {
    /// A user with the organization that they have been a member of for longest.
    async fn profile(&self, connection: &mut AnyConnection, user: &str) -> Result<UserProfile, StoreError> {
        let row = sqlx::query(
            "SELECT id, username, email, full_name, avatar_url, nickname, language, timezone, role, plan, created_ms, \
             (SELECT m.organization_id FROM memberships AS m WHERE m.user_id = users.id \
                ORDER BY m.joined_ms, m.organization_id LIMIT 1) FROM users WHERE id = $1",
        )
        .bind(user)
        .fetch_one(connection)
        .await?;
        Ok(UserProfile {
            id: column(&row, 0)?,
            username: column(&row, 1)?,
            email: column(&row, 2)?,
            full_name: nullable(column(&row, 3)?),
            avatar_url: nullable(column(&row, 4)?),
            nickname: nullable(column(&row, 5)?),
            language: nullable(column(&row, 6)?),
            timezone: nullable(column(&row, 7)?),
            role: word(column(&row, 8)?)?,
            plan: nullable(column(&row, 9)?),
            organization_id: nullable(column(&row, 11)?),
            is_active: true,
            created_at: to_datetime(column(&row, 10)?),
        })
    }
}

/// Writes a new user's row, for the API and for demonstrations alike.
pub(super) async fn insert(write: &mut Write, user: &NewUser<'_>, now: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO users (id, username, email, full_name, role, plan, password_hash, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(user.id)
    .bind(user.username)
    .bind(user.email)
    .bind(user.full_name)
    .bind(user.role)
    .bind(user.plan)
    .bind(user.password_hash)
    .bind(now)
    .execute(write.run())
    .await?;
    Ok(())
}

fn tokens(pair: TokenPair) -> TokenResponse {
    TokenResponse {
        access_token: pair.access,
        token_type: TokenResponseTokenType::Bearer,
        refresh_token: Patch::Value(pair.refresh),
    }
}

/// The form in which addresses are stored and compared: nobody means two people by two spellings.
fn normal_email(email: &str) -> String {
    email.trim().to_lowercase()
}
