//! Logging in and out — documentation section "Authentication".

use contract_ragchats::problems::{InternalError, InvalidCredentials, InvalidToken, TokenExpired};
use contract_ragchats::server::{
    Authentication, LogInError, LogInRequest, LogInResponse, LogOutError, LogOutRequest, LogOutResponse,
    RefreshAccessTokenError, RefreshAccessTokenRequest, RefreshAccessTokenResponse,
};
use contract_ragchats::types::{LoginResponse, TokenResponse, User};

use super::Service;
use super::access::{Principal, id, internal};
use crate::platform::store::{StoreError, column};
use crate::platform::tokens::{Claims, Secret, TokenError, TokenKind};

impl Authentication for Service {
    type Principal = Principal;

    async fn log_in(&self, request: LogInRequest) -> Result<LogInResponse, LogInError> {
        let row = sqlx::query("SELECT id, email, first_name, last_name, password_hash FROM users WHERE email = $1")
            .bind(normal_email(&request.body.email))
            .fetch_optional(self.0.store.reader())
            .await
            .map_err(internal)?;
        let stored = row.as_ref().map(|row| column(row, 4)).transpose().map_err(internal)?;
        // Asked also when there is no such user, so that both refusals take the same time.
        let matches = self.0.passwords.verify(Secret::new(request.body.password), stored).await.map_err(internal)?;
        let Some(row) = row.filter(|_| matches) else {
            return Err(InvalidCredentials::because("Email or password is wrong.").into());
        };
        let user = || {
            Ok::<_, StoreError>(User {
                id: id(column(&row, 0)?)?,
                email: column(&row, 1)?,
                first_name: column(&row, 2)?,
                last_name: column(&row, 3)?,
            })
        };
        let user = user().map_err(internal)?;
        let pair = self.0.sessions.open(&user.id.to_string()).await.map_err(internal)?;
        Ok(LogInResponse::Ok(LoginResponse { access: pair.access, refresh: pair.refresh, user }))
    }

    async fn refresh_access_token(
        &self,
        request: RefreshAccessTokenRequest,
    ) -> Result<RefreshAccessTokenResponse, RefreshAccessTokenError> {
        let claims = self.refresh_claims::<RefreshAccessTokenError>(&request.body.refresh).await?;
        let access = self.0.sessions.renew(&claims).map_err(internal)?;
        Ok(RefreshAccessTokenResponse::Ok(TokenResponse { access }))
    }

    /// Ends the session of the refresh token, and that of the access token that asked for it: whoever logs out does not
    /// expect to be still in. They are one unless a client holds tokens of two logins.
    async fn log_out(&self, caller: &Principal, request: LogOutRequest) -> Result<LogOutResponse, LogOutError> {
        let user = caller.user()?;
        let claims = self.refresh_claims::<LogOutError>(&request.body.refresh).await?;
        if claims.sub != user.to_string() {
            return Err(no_token().into());
        }
        self.0.sessions.close(&claims.sid).await.map_err(internal)?;
        if let Principal::User { session, .. } = caller
            && claims.sid != *session
        {
            self.0.sessions.close(session).await.map_err(internal)?;
        }
        Ok(LogOutResponse::NoContent)
    }
}

impl Service {
    /// The claims of a refresh token that is good.
    async fn refresh_claims<E>(&self, token: &str) -> Result<Claims, E>
    where
        E: From<InvalidToken> + From<TokenExpired> + From<InternalError>,
    {
        refused_token(self.0.sessions.verify(token, TokenKind::Refresh).await)
    }
}

/// A verified token, or the documented answer to one that is no good.
pub(super) fn refused_token<E>(verified: Result<Claims, TokenError>) -> Result<Claims, E>
where
    E: From<InvalidToken> + From<TokenExpired> + From<InternalError>,
{
    verified.map_err(|error| match error {
        TokenError::Expired => TokenExpired::because("The token has expired.").into(),
        TokenError::Malformed | TokenError::Revoked | TokenError::WrongKind => no_token().into(),
        TokenError::Unchecked(error) => internal(error).into(),
        TokenError::Unsigned(error) => internal(error).into(),
    })
}

fn no_token() -> InvalidToken {
    InvalidToken::because("The token is not valid.")
}

/// The form in which addresses are stored and compared: nobody means two people by two spellings.
fn normal_email(email: &str) -> String {
    email.trim().to_lowercase()
}
