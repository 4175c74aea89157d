-- The one refresh token that a session takes, by its id. Null in sessions whose refresh token stays as it is.
ALTER TABLE sessions ADD COLUMN refresh_jti TEXT;
