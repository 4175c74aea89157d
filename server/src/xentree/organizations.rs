//! Organizations, members and teams — documentation section "Organizations".

use contract_xentree::problems::{BadRequest, InternalServerError, NotFound};
use contract_xentree::server::{
    AddOrganizationMemberError, AddOrganizationMemberRequest, AddOrganizationMemberResponse, CreateOrganizationError,
    CreateOrganizationRequest, CreateOrganizationResponse, DeleteOrganizationError, DeleteOrganizationRequest,
    DeleteOrganizationResponse, GetOrganizationError, GetOrganizationRequest, GetOrganizationResponse,
    ListOrganizationMembersError, ListOrganizationMembersRequest, ListOrganizationMembersResponse,
    ListOrganizationsError, ListOrganizationsRequest, ListOrganizationsResponse, Organizations,
    RemoveOrganizationMemberError, RemoveOrganizationMemberRequest, RemoveOrganizationMemberResponse,
    UpdateMemberError, UpdateMemberRequest, UpdateMemberResponse, UpdateMemberRoleError, UpdateMemberRoleRequest,
    UpdateMemberRoleResponse, UpdateOrganizationError, UpdateOrganizationRequest, UpdateOrganizationResponse,
};
use contract_xentree::types::{MemberResponse, MemberRole, OrganizationResponse, SimpleMessageResponse};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use trueline_runtime::Patch;

use super::Service;
use super::access::{Principal, bad_request, forbidden, internal, moment, new_id, not_found, nullable, page, word};
use super::api_keys;
use crate::platform::clock::to_datetime;
use crate::platform::store::{StoreError, Write, column};

/// The organizations that a caller may see, with the caller's role: `$1` the user, `$2` the key's organization and `$3` the
/// key, both empty in a session.
const VISIBLE: &str = "SELECT o.id, o.name, o.slug, o.description, m.role, o.created_ms, o.updated_ms, \
                       (SELECT COUNT(*) FROM memberships AS c WHERE c.organization_id = o.id) \
                       FROM memberships AS m JOIN organizations AS o ON o.id = m.organization_id \
                       WHERE m.user_id = $1 AND ($2 = '' OR o.id = $2 OR o.created_by_key = $3)";

const MEMBER: &str = "SELECT m.user_id, m.organization_id, u.username, u.email, u.full_name, m.role, m.team_id, \
                      m.joined_ms FROM memberships AS m JOIN users AS u ON u.id = m.user_id \
                      WHERE m.organization_id = $1";

impl Organizations for Service {
    type Principal = Principal;

    async fn list_organizations(
        &self,
        caller: &Principal,
        request: ListOrganizationsRequest,
    ) -> Result<ListOrganizationsResponse, ListOrganizationsError> {
        let (limit, offset) = page(request.page, request.limit);
        let sql = format!("{VISIBLE} ORDER BY m.joined_ms, o.id LIMIT $4 OFFSET $5");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&caller.user)
            .bind(caller.tied_to().unwrap_or_default())
            .bind(caller.key().unwrap_or_default())
            .bind(limit)
            .bind(offset)
            .fetch_all(self.0.store.reader())
            .await
            .map_err(internal)?;
        let found = rows.iter().map(organization).collect::<Result<_, _>>().map_err(internal)?;
        Ok(ListOrganizationsResponse::Ok(found))
    }

    async fn create_organization(
        &self,
        caller: &Principal,
        request: CreateOrganizationRequest,
    ) -> Result<CreateOrganizationResponse, CreateOrganizationError> {
        let new = request.body;
        let id = new_id("org").map_err(internal)?;
        let now = self.0.clock.now_ms();
        let mut write = self.0.store.write().await.map_err(internal)?;
        free_slug::<CreateOrganizationError>(&mut write, &new.slug, "").await?;
        insert(&mut write, &id, &new.name, &new.slug, new.description.value().as_deref(), caller.key(), now)
            .await
            .map_err(internal)?;
        join(&mut write, &caller.user, &id, MemberRole::Owner, None, now).await.map_err(internal)?;
        let created = self.look_up(write.run(), caller, &id).await.map_err(internal)?;
        let (created, _) =
            created.ok_or_else(|| StoreError::Corrupt(format!("organization {id}"))).map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(CreateOrganizationResponse::Created(created))
    }

    async fn get_organization(
        &self,
        caller: &Principal,
        request: GetOrganizationRequest,
    ) -> Result<GetOrganizationResponse, GetOrganizationError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let (found, _) = self.visible::<GetOrganizationError>(&mut connection, caller, &request.org_id).await?;
        Ok(GetOrganizationResponse::Ok(found))
    }

    async fn update_organization(
        &self,
        caller: &Principal,
        request: UpdateOrganizationRequest,
    ) -> Result<UpdateOrganizationResponse, UpdateOrganizationError> {
        let (id, changes) = (request.org_id, request.body);
        let mut write = self.0.store.write().await.map_err(internal)?;
        let (_, role) = self.visible::<UpdateOrganizationError>(write.run(), caller, &id).await?;
        if !governs(role) {
            return Err(forbidden().into());
        }
        if let Some(slug) = &changes.slug {
            free_slug::<UpdateOrganizationError>(&mut write, slug, &id).await?;
        }
        sqlx::query(
            "UPDATE organizations SET name = COALESCE($2, name), slug = COALESCE($3, slug), \
             description = CASE WHEN $4 = 1 THEN $5 ELSE description END, \
             updated_ms = CASE WHEN updated_ms > $6 THEN updated_ms ELSE $6 END WHERE id = $1",
        )
        .bind(&id)
        .bind(changes.name)
        .bind(changes.slug)
        .bind(i64::from(!changes.description.is_absent()))
        .bind(changes.description.value())
        .bind(self.0.clock.now_ms())
        .execute(write.run())
        .await
        .map_err(internal)?;
        let (updated, _) = self.visible::<UpdateOrganizationError>(write.run(), caller, &id).await?;
        write.commit().await.map_err(internal)?;
        Ok(UpdateOrganizationResponse::Ok(updated))
    }

    async fn delete_organization(
        &self,
        caller: &Principal,
        request: DeleteOrganizationRequest,
    ) -> Result<DeleteOrganizationResponse, DeleteOrganizationError> {
        let mut write = self.0.store.write().await.map_err(internal)?;
        let (found, role) = self.visible::<DeleteOrganizationError>(write.run(), caller, &request.org_id).await?;
        if role != MemberRole::Owner {
            return Err(forbidden().into());
        }
        sqlx::query("DELETE FROM organizations WHERE id = $1")
            .bind(found.id)
            .execute(write.run())
            .await
            .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(DeleteOrganizationResponse::Ok(SimpleMessageResponse { message: "Organization deleted".to_owned() }))
    }

    async fn list_organization_members(
        &self,
        caller: &Principal,
        request: ListOrganizationMembersRequest,
    ) -> Result<ListOrganizationMembersResponse, ListOrganizationMembersError> {
        let (limit, offset) = page(request.page, request.limit);
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        self.visible::<ListOrganizationMembersError>(&mut connection, caller, &request.org_id).await?;
        let sql = format!("{MEMBER} ORDER BY m.joined_ms, m.user_id LIMIT $2 OFFSET $3");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&request.org_id)
            .bind(limit)
            .bind(offset)
            .fetch_all(&mut *connection)
            .await
            .map_err(internal)?;
        let members = rows.iter().map(member).collect::<Result<_, _>>().map_err(internal)?;
        Ok(ListOrganizationMembersResponse::Ok(members))
    }

    async fn add_organization_member(
        &self,
        caller: &Principal,
        request: AddOrganizationMemberRequest,
    ) -> Result<AddOrganizationMemberResponse, AddOrganizationMemberError> {
        let (organization, new) = (request.org_id, request.body);
        let role = new.role.unwrap_or(MemberRole::Member);
        let now = self.0.clock.now_ms();
        let mut write = self.0.store.write().await.map_err(internal)?;
        let (_, own) = self.visible::<AddOrganizationMemberError>(write.run(), caller, &organization).await?;
        if !governs(own) || role == MemberRole::Owner && own != MemberRole::Owner {
            return Err(forbidden().into());
        }
        let known = sqlx::query("SELECT id FROM users WHERE id = $1")
            .bind(&new.user_id)
            .fetch_optional(write.run())
            .await
            .map_err(internal)?;
        if known.is_none() {
            return Err(not_found("User not found").into());
        }
        if member_role(write.run(), &organization, &new.user_id).await.map_err(internal)?.is_some() {
            return Err(bad_request("The user is a member already.").into());
        }
        let team = new.team_id.value();
        join(&mut write, &new.user_id, &organization, role, team.as_deref(), now).await.map_err(internal)?;
        let added = find_member(write.run(), &organization, &new.user_id).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(AddOrganizationMemberResponse::Created(added))
    }

    async fn update_member_role(
        &self,
        caller: &Principal,
        request: UpdateMemberRoleRequest,
    ) -> Result<UpdateMemberRoleResponse, UpdateMemberRoleError> {
        let (organization, user, role) = (request.org_id, request.target_user_id, request.body.role);
        let mut write = self.0.store.write().await.map_err(internal)?;
        let (own, before) =
            self.member_roles::<UpdateMemberRoleError>(write.run(), caller, &organization, &user).await?;
        if !governs(own) || concerns_owners(before, Some(role)) && own != MemberRole::Owner {
            return Err(forbidden().into());
        }
        if before == MemberRole::Owner && role != MemberRole::Owner {
            keep_an_owner::<UpdateMemberRoleError>(&mut write, &organization).await?;
        }
        set_role(&mut write, &organization, &user, role).await.map_err(internal)?;
        let updated = find_member(write.run(), &organization, &user).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(UpdateMemberRoleResponse::Ok(updated))
    }

    async fn update_member(
        &self,
        caller: &Principal,
        request: UpdateMemberRequest,
    ) -> Result<UpdateMemberResponse, UpdateMemberError> {
        let (organization, user, changes) = (request.org_id, request.target_user_id, request.body);
        let now = self.0.clock.now_ms();
        let mut write = self.0.store.write().await.map_err(internal)?;
        let (own, before) = self.member_roles::<UpdateMemberError>(write.run(), caller, &organization, &user).await?;
        let target = changes.organization_id.filter(|target| *target != organization);
        let only_team = changes.role.is_none() && target.is_none();
        let looks_after = own == MemberRole::Manager && before == MemberRole::Member && only_team;
        if !governs(own) && !looks_after {
            return Err(forbidden().into());
        }
        // To be moved away is to lose the role.
        let after = changes.role.or(target.is_some().then_some(MemberRole::Member));
        if own != MemberRole::Owner && !looks_after && concerns_owners(before, changes.role) {
            return Err(forbidden().into());
        }
        let gone_to = match &target {
            None => None,
            Some(target) => {
                let there = self.role(write.run(), caller, target).await.map_err(internal)?;
                let there = there.ok_or_else(|| not_found("Organization not found"))?;
                if !governs(there) || after == Some(MemberRole::Owner) && there != MemberRole::Owner {
                    return Err(forbidden().into());
                }
                if member_role(write.run(), target, &user).await.map_err(internal)?.is_some() {
                    return Err(bad_request("The user is a member of that organization already.").into());
                }
                Some(target)
            }
        };
        if before == MemberRole::Owner && (gone_to.is_some() || after.is_some_and(|role| role != MemberRole::Owner)) {
            keep_an_owner::<UpdateMemberError>(&mut write, &organization).await?;
        }
        let home = if let Some(target) = gone_to {
            leave(&mut write, &organization, &user).await.map_err(internal)?;
            let (role, team) = (after.unwrap_or(MemberRole::Member), changes.team_id.value());
            join(&mut write, &user, target, role, team.as_deref(), now).await.map_err(internal)?;
            target
        } else {
            if let Some(role) = changes.role {
                set_role(&mut write, &organization, &user, role).await.map_err(internal)?;
            }
            if let Some(team) = changes.team_id.into_option() {
                set_team(&mut write, &organization, &user, team.as_deref(), now).await.map_err(internal)?;
            }
            &organization
        };
        let updated = find_member(write.run(), home, &user).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(UpdateMemberResponse::Ok(updated))
    }

    async fn remove_organization_member(
        &self,
        caller: &Principal,
        request: RemoveOrganizationMemberRequest,
    ) -> Result<RemoveOrganizationMemberResponse, RemoveOrganizationMemberError> {
        let (organization, user) = (request.org_id, request.target_user_id);
        let mut write = self.0.store.write().await.map_err(internal)?;
        let (own, before) =
            self.member_roles::<RemoveOrganizationMemberError>(write.run(), caller, &organization, &user).await?;
        let leaves = user == caller.user;
        if !leaves && (!governs(own) || before == MemberRole::Owner && own != MemberRole::Owner) {
            return Err(forbidden().into());
        }
        if before == MemberRole::Owner {
            keep_an_owner::<RemoveOrganizationMemberError>(&mut write, &organization).await?;
        }
        leave(&mut write, &organization, &user).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(RemoveOrganizationMemberResponse::Ok(SimpleMessageResponse { message: "Member removed".to_owned() }))
    }
}

impl Service {
    /// An organization that the caller may see, and the caller's role in it.
    async fn visible<E>(
        &self,
        connection: &mut AnyConnection,
        caller: &Principal,
        id: &str,
    ) -> Result<(OrganizationResponse, MemberRole), E>
    where
        E: From<NotFound> + From<InternalServerError>,
    {
        let found = self.look_up(connection, caller, id).await.map_err(internal)?;
        Ok(found.ok_or_else(|| not_found("Organization not found"))?)
    }

    async fn look_up(
        &self,
        connection: &mut AnyConnection,
        caller: &Principal,
        id: &str,
    ) -> Result<Option<(OrganizationResponse, MemberRole)>, StoreError> {
        let sql = format!("{VISIBLE} AND o.id = $4");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&caller.user)
            .bind(caller.tied_to().unwrap_or_default())
            .bind(caller.key().unwrap_or_default())
            .bind(id)
            .fetch_optional(connection)
            .await?;
        row.map(|row| Ok((organization(&row)?, word(column(&row, 4)?)?))).transpose()
    }

    /// The caller's own role and the member's.
    async fn member_roles<E>(
        &self,
        connection: &mut AnyConnection,
        caller: &Principal,
        organization: &str,
        user: &str,
    ) -> Result<(MemberRole, MemberRole), E>
    where
        E: From<NotFound> + From<InternalServerError>,
    {
        let own = self.role(connection, caller, organization).await.map_err(internal)?;
        let own = own.ok_or_else(|| not_found("Organization not found"))?;
        let of_member = member_role(connection, organization, user).await.map_err(internal)?;
        Ok((own, of_member.ok_or_else(|| not_found("Member not found"))?))
    }
}

/// Whether the role may change the organization and its members.
fn governs(role: MemberRole) -> bool {
    matches!(role, MemberRole::Owner | MemberRole::Admin)
}

fn concerns_owners(before: MemberRole, after: Option<MemberRole>) -> bool {
    before == MemberRole::Owner || after == Some(MemberRole::Owner)
}

/// Writes a new organization's row, for the API and for demonstrations alike.
pub(super) async fn insert(
    write: &mut Write,
    id: &str,
    name: &str,
    slug: &str,
    description: Option<&str>,
    key: Option<&str>,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO organizations (id, name, slug, description, created_by_key, created_ms, updated_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $6)",
    )
    .bind(id)
    .bind(name)
    .bind(slug)
    .bind(description)
    .bind(key)
    .bind(now)
    .execute(write.run())
    .await?;
    Ok(())
}

/// Makes a user a member.
pub(super) async fn join(
    write: &mut Write,
    user: &str,
    organization: &str,
    role: MemberRole,
    team: Option<&str>,
    now: i64,
) -> Result<(), StoreError> {
    make_team(write, organization, team, now).await?;
    sqlx::query(
        "INSERT INTO memberships (user_id, organization_id, role, team_id, joined_ms) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(user)
    .bind(organization)
    .bind(role.as_str())
    .bind(team)
    .bind(now)
    .execute(write.run())
    .await?;
    Ok(())
}

/// Ends a membership, and with it what the user could do there by key.
async fn leave(write: &mut Write, organization: &str, user: &str) -> Result<(), StoreError> {
    api_keys::revoke_of(write, user, organization).await?;
    sqlx::query("DELETE FROM memberships WHERE organization_id = $1 AND user_id = $2")
        .bind(organization)
        .bind(user)
        .execute(write.run())
        .await?;
    Ok(())
}

async fn make_team(write: &mut Write, organization: &str, team: Option<&str>, now: i64) -> Result<(), StoreError> {
    let Some(team) = team else { return Ok(()) };
    sqlx::query("INSERT INTO teams (organization_id, id, created_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(organization)
        .bind(team)
        .bind(now)
        .execute(write.run())
        .await?;
    Ok(())
}

async fn set_role(write: &mut Write, organization: &str, user: &str, role: MemberRole) -> Result<(), StoreError> {
    sqlx::query("UPDATE memberships SET role = $3 WHERE organization_id = $1 AND user_id = $2")
        .bind(organization)
        .bind(user)
        .bind(role.as_str())
        .execute(write.run())
        .await?;
    Ok(())
}

async fn set_team(
    write: &mut Write,
    organization: &str,
    user: &str,
    team: Option<&str>,
    now: i64,
) -> Result<(), StoreError> {
    make_team(write, organization, team, now).await?;
    sqlx::query("UPDATE memberships SET team_id = $3 WHERE organization_id = $1 AND user_id = $2")
        .bind(organization)
        .bind(user)
        .bind(team)
        .execute(write.run())
        .await?;
    Ok(())
}

async fn member_role(
    connection: &mut AnyConnection,
    organization: &str,
    user: &str,
) -> Result<Option<MemberRole>, StoreError> {
    let row = sqlx::query("SELECT role FROM memberships WHERE organization_id = $1 AND user_id = $2")
        .bind(organization)
        .bind(user)
        .fetch_optional(connection)
        .await?;
    row.map(|row| word(column(&row, 0)?)).transpose()
}

async fn find_member(
    connection: &mut AnyConnection,
    organization: &str,
    user: &str,
) -> Result<MemberResponse, StoreError> {
    let sql = format!("{MEMBER} AND m.user_id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(organization).bind(user).fetch_one(connection).await?;
    member(&row)
}

/// Refuses what would leave an organization without any owner.
async fn keep_an_owner<E>(write: &mut Write, organization: &str) -> Result<(), E>
where
    E: From<BadRequest> + From<InternalServerError>,
{
    let row = sqlx::query("SELECT COUNT(*) FROM memberships WHERE organization_id = $1 AND role = 'owner'")
        .bind(organization)
        .fetch_one(write.run())
        .await
        .map_err(internal)?;
    match column::<i64>(&row, 0).map_err(internal)? {
        0 | 1 => Err(bad_request("The last owner of an organization cannot leave or change role.").into()),
        _ => Ok(()),
    }
}

async fn free_slug<E>(write: &mut Write, slug: &str, own: &str) -> Result<(), E>
where
    E: From<BadRequest> + From<InternalServerError>,
{
    let taken = sqlx::query("SELECT id FROM organizations WHERE slug = $1 AND id <> $2")
        .bind(slug)
        .bind(own)
        .fetch_optional(write.run())
        .await
        .map_err(internal)?;
    match taken {
        None => Ok(()),
        Some(_) => Err(bad_request("The slug is taken.").into()),
    }
}

fn organization(row: &AnyRow) -> Result<OrganizationResponse, StoreError> {
    Ok(OrganizationResponse {
        id: column(row, 0)?,
        name: column(row, 1)?,
        slug: column(row, 2)?,
        description: nullable(column(row, 3)?),
        role: Patch::Value(word(column(row, 4)?)?),
        member_count: Some(column(row, 7)?),
        created_at: to_datetime(column(row, 5)?),
        updated_at: moment(Some(column(row, 6)?)),
    })
}

fn member(row: &AnyRow) -> Result<MemberResponse, StoreError> {
    Ok(MemberResponse {
        user_id: column(row, 0)?,
        organization_id: column(row, 1)?,
        username: column(row, 2)?,
        email: nullable(column(row, 3)?),
        full_name: nullable(column(row, 4)?),
        role: word(column(row, 5)?)?,
        team_id: nullable(column(row, 6)?),
        joined_at: to_datetime(column(row, 7)?),
    })
}
