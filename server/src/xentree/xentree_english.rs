//! Xentree English — documentation section "Xentree English": the course with a user's progress, its tasks and their scores,
//! evaluation, learning sessions and what was said in them.

use std::collections::{BTreeMap, HashMap};

use contract_xentree::problems::{Forbidden, InternalServerError, NotFound};
use contract_xentree::server::{
    CompleteXelModuleError, CompleteXelModuleRequest, CompleteXelModuleResponse, EndXelSessionError,
    EndXelSessionRequest, EndXelSessionResponse, EvaluateXelResponseError, EvaluateXelResponseRequest,
    EvaluateXelResponseResponse, GetXelDashboardError, GetXelDashboardRequest, GetXelDashboardResponse,
    GetXelModuleError, GetXelModuleRequest, GetXelModuleResponse, GetXelTranscriptsError, GetXelTranscriptsRequest,
    GetXelTranscriptsResponse, GetXelXpiError, GetXelXpiHistoryError, GetXelXpiHistoryRequest,
    GetXelXpiHistoryResponse, GetXelXpiRequest, GetXelXpiResponse, ListXelModulesError, ListXelModulesRequest,
    ListXelModulesResponse, RegenerateXelTaskError, RegenerateXelTaskRequest, RegenerateXelTaskResponse,
    SaveXelTranscriptError, SaveXelTranscriptRequest, SaveXelTranscriptResponse, StartXelModuleError,
    StartXelModuleRequest, StartXelModuleResponse, StartXelSessionError, StartXelSessionRequest,
    StartXelSessionResponse, SubmitXelTaskError, SubmitXelTaskRequest, SubmitXelTaskResponse, XentreeEnglish,
};
use contract_xentree::types::{
    XelDashboardResponse, XelEvaluationResponse, XelModuleCompleteResponse, XelModuleCompleteResponseStatus,
    XelModuleDetail, XelModuleStartResponse, XelModuleStartResponseStatus, XelModuleStatus, XelModuleSummary,
    XelProducedSkill, XelSessionEndResponse, XelSessionEndResponseStatus, XelSessionStartRequestSkill,
    XelSessionStartResponse, XelSessionStartResponseStatus, XelSkill, XelTask, XelTaskRegenerateResponse,
    XelTaskStatus, XelTaskSubmissionResponse, XelTranscriptItem, XelTranscriptSaveResponse, XelXpiHistoryItem,
    XelXpiResponse,
};
use sqlx::AnyConnection;

use super::Service;
use super::access::{Principal, bad_request, internal, new_id, not_found, page, word};
use super::curriculum::{self, Module, Skill, Task, Variant, course, round};
use super::evaluation;
use super::progress::{self, Deed, Kind};
use super::wire::{nullable, seconds_between, small};
use crate::platform::clock::to_datetime;
use crate::platform::store::{StoreError, Write, column};

/// What one session counts at most.
const SESSION_MS: i64 = 4 * 60 * 60 * 1000;

/// Points of a score that earn one XP.
const POINTS_A_XP: f64 = 5.0;

/// Length of a full answer to no task in particular, in words.
const FREE_WORDS: usize = 60;

impl XentreeEnglish for Service {
    type Principal = Principal;

    async fn start_xel_module(
        &self,
        caller: &Principal,
        request: StartXelModuleRequest,
    ) -> Result<StartXelModuleResponse, StartXelModuleError> {
        let now = self.0.clock.now_ms();
        let (place, module) = find::<StartXelModuleError>(&request.module_id)?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let progress = Progress::read(write.run(), &caller.user).await.map_err(internal)?;
        progress.unlocked(place)?;
        let started_ms = match progress.modules.get(module.id.as_str()) {
            Some(Stage { started_ms, completed_ms: None, .. }) => *started_ms,
            _ => {
                sqlx::query(
                    "INSERT INTO xel_modules (user_id, module_id, started_ms, completed_ms, first_completed_ms) \
                     VALUES ($1, $2, $3, NULL, NULL) ON CONFLICT (user_id, module_id) \
                     DO UPDATE SET started_ms = excluded.started_ms, completed_ms = NULL",
                )
                .bind(&caller.user)
                .bind(&module.id)
                .bind(now)
                .execute(write.run())
                .await
                .map_err(internal)?;
                now
            }
        };
        write.commit().await.map_err(internal)?;
        Ok(StartXelModuleResponse::Ok(XelModuleStartResponse {
            module_id: module.id.clone(),
            status: XelModuleStartResponseStatus::InProgress,
            started_at: to_datetime(started_ms),
        }))
    }

    async fn complete_xel_module(
        &self,
        caller: &Principal,
        request: CompleteXelModuleRequest,
    ) -> Result<CompleteXelModuleResponse, CompleteXelModuleError> {
        let now = self.0.clock.now_ms();
        let (place, module) = find::<CompleteXelModuleError>(&request.module_id)?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let progress = Progress::read(write.run(), &caller.user).await.map_err(internal)?;
        let stage =
            progress.modules.get(module.id.as_str()).ok_or_else(|| bad_request("The module has not been started."))?;
        let completed_ms = stage.completed_ms.unwrap_or(now);
        sqlx::query(
            "UPDATE xel_modules SET completed_ms = $1, first_completed_ms = COALESCE(first_completed_ms, $2) \
             WHERE user_id = $3 AND module_id = $4",
        )
        .bind(completed_ms)
        .bind(completed_ms)
        .bind(&caller.user)
        .bind(&module.id)
        .execute(write.run())
        .await
        .map_err(internal)?;
        let deed = Deed { kind: Kind::Module, reference: &module.id, xp: whole(progress.mean(module)), quantity: 1 };
        let xp_earned = progress::earn(&mut write, &caller.user, deed, now).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(CompleteXelModuleResponse::Ok(XelModuleCompleteResponse {
            module_id: module.id.clone(),
            status: XelModuleCompleteResponseStatus::Completed,
            completed_at: to_datetime(completed_ms),
            xp_earned,
            next_module_id: nullable(course().get(place + 1).map(|next| next.id.clone())),
        }))
    }

    async fn regenerate_xel_task(
        &self,
        caller: &Principal,
        request: RegenerateXelTaskRequest,
    ) -> Result<RegenerateXelTaskResponse, RegenerateXelTaskError> {
        let (place, module) = find::<RegenerateXelTaskError>(&request.body.module_id)?;
        let task = module.task(&request.body.task_id).ok_or_else(no_task)?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let progress = Progress::read(write.run(), &caller.user).await.map_err(internal)?;
        progress.unlocked(place)?;
        let mut work = progress.work(module, task);
        work.variant = (work.variant + 1) % task.variants.len();
        keep(&mut write, &caller.user, module, task, &work).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(RegenerateXelTaskResponse::Ok(XelTaskRegenerateResponse {
            module_id: module.id.clone(),
            variant: small(work.variant + 1),
            task: shown(task, &work),
        }))
    }

    async fn get_xel_xpi(&self, caller: &Principal, _: GetXelXpiRequest) -> Result<GetXelXpiResponse, GetXelXpiError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let progress = Progress::read(&mut connection, &caller.user).await.map_err(internal)?;
        Ok(GetXelXpiResponse::Ok(progress.xpi()))
    }

    async fn get_xel_xpi_history(
        &self,
        caller: &Principal,
        request: GetXelXpiHistoryRequest,
    ) -> Result<GetXelXpiHistoryResponse, GetXelXpiHistoryError> {
        let rows =
            sqlx::query("SELECT recorded_ms, xpi, change FROM xel_xpi WHERE user_id = $1 ORDER BY step DESC LIMIT $2")
                .bind(&caller.user)
                .bind(i64::from(request.limit))
                .fetch_all(self.0.store.reader())
                .await
                .map_err(internal)?;
        let item = |row| {
            Ok::<_, StoreError>(XelXpiHistoryItem {
                recorded_at: to_datetime(column(row, 0)?),
                xpi: column(row, 1)?,
                change: nullable(column(row, 2)?),
            })
        };
        Ok(GetXelXpiHistoryResponse::Ok(rows.iter().map(item).collect::<Result<_, _>>().map_err(internal)?))
    }

    async fn start_xel_session(
        &self,
        caller: &Principal,
        request: StartXelSessionRequest,
    ) -> Result<StartXelSessionResponse, StartXelSessionError> {
        let module = request.body.module_id.value();
        if let Some(module) = &module {
            find::<StartXelSessionError>(module)?;
        }
        let (id, now) = (new_id("ses").map_err(internal)?, self.0.clock.now_ms());
        let mut write = self.0.store.write().await.map_err(internal)?;
        sqlx::query(
            "INSERT INTO xel_sessions (id, user_id, module_id, skill, started_ms, ended_ms) \
             VALUES ($1, $2, $3, $4, $5, NULL)",
        )
        .bind(&id)
        .bind(&caller.user)
        .bind(&module)
        .bind(request.body.skill.value().map(XelSessionStartRequestSkill::as_str))
        .bind(now)
        .execute(write.run())
        .await
        .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(StartXelSessionResponse::Ok(XelSessionStartResponse {
            session_id: id,
            module_id: nullable(module),
            status: XelSessionStartResponseStatus::Active,
            started_at: to_datetime(now),
        }))
    }

    async fn end_xel_session(
        &self,
        caller: &Principal,
        request: EndXelSessionRequest,
    ) -> Result<EndXelSessionResponse, EndXelSessionError> {
        let (id, now) = (request.body.session_id, self.0.clock.now_ms());
        let mut write = self.0.store.write().await.map_err(internal)?;
        let row =
            sqlx::query("SELECT started_ms FROM xel_sessions WHERE id = $1 AND user_id = $2 AND ended_ms IS NULL")
                .bind(&id)
                .bind(&caller.user)
                .fetch_optional(write.run())
                .await
                .map_err(internal)?
                .ok_or_else(no_session)?;
        let started_ms: i64 = column(&row, 0).map_err(internal)?;
        let ended_ms = now.clamp(started_ms, started_ms + SESSION_MS);
        sqlx::query("UPDATE xel_sessions SET ended_ms = $1 WHERE id = $2")
            .bind(ended_ms)
            .bind(&id)
            .execute(write.run())
            .await
            .map_err(internal)?;
        let minutes = progress::minutes(ended_ms - started_ms);
        let deed = Deed { kind: Kind::Minutes, reference: &id, xp: minutes, quantity: minutes };
        let xp = progress::earn(&mut write, &caller.user, deed, now).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(EndXelSessionResponse::Ok(XelSessionEndResponse {
            session_id: id,
            status: XelSessionEndResponseStatus::Ended,
            ended_at: to_datetime(ended_ms),
            duration_seconds: seconds_between(started_ms, ended_ms),
            xp_earned: Some(xp),
        }))
    }

    async fn save_xel_transcript(
        &self,
        caller: &Principal,
        request: SaveXelTranscriptRequest,
    ) -> Result<SaveXelTranscriptResponse, SaveXelTranscriptError> {
        let (id, now, entry) = (new_id("trn").map_err(internal)?, self.0.clock.now_ms(), request.body);
        let mut write = self.0.store.write().await.map_err(internal)?;
        own_session::<SaveXelTranscriptError>(write.run(), &caller.user, &entry.session_id).await?;
        sqlx::query(
            "INSERT INTO xel_transcripts (id, session_id, position, role, text, spoken_ms, created_ms) \
             SELECT $1, $2, COALESCE(MAX(position) + 1, 0), $3, $4, $5, $6 FROM xel_transcripts WHERE session_id = $2",
        )
        .bind(&id)
        .bind(&entry.session_id)
        .bind(entry.role.as_str())
        .bind(&entry.text)
        .bind(entry.timestamp.value().map_or(now, |at| at.timestamp_millis()))
        .bind(now)
        .execute(write.run())
        .await
        .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(SaveXelTranscriptResponse::Created(XelTranscriptSaveResponse {
            id,
            session_id: entry.session_id,
            created_at: to_datetime(now),
        }))
    }

    async fn list_xel_modules(
        &self,
        caller: &Principal,
        _: ListXelModulesRequest,
    ) -> Result<ListXelModulesResponse, ListXelModulesError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let progress = Progress::read(&mut connection, &caller.user).await.map_err(internal)?;
        Ok(ListXelModulesResponse::Ok((0..course().len()).map(|place| progress.summary(place)).collect()))
    }

    async fn get_xel_transcripts(
        &self,
        caller: &Principal,
        request: GetXelTranscriptsRequest,
    ) -> Result<GetXelTranscriptsResponse, GetXelTranscriptsError> {
        let (limit, offset) = page(request.page, request.limit);
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        own_session::<GetXelTranscriptsError>(&mut connection, &caller.user, &request.session_id).await?;
        let rows = sqlx::query(
            "SELECT id, session_id, role, text, spoken_ms FROM xel_transcripts WHERE session_id = $1 \
             ORDER BY spoken_ms, position LIMIT $2 OFFSET $3",
        )
        .bind(&request.session_id)
        .bind(limit)
        .bind(offset)
        .fetch_all(&mut *connection)
        .await
        .map_err(internal)?;
        let item = |row| {
            Ok::<_, StoreError>(XelTranscriptItem {
                id: column(row, 0)?,
                session_id: column(row, 1)?,
                role: word(column(row, 2)?)?,
                text: column(row, 3)?,
                timestamp: to_datetime(column(row, 4)?),
            })
        };
        Ok(GetXelTranscriptsResponse::Ok(rows.iter().map(item).collect::<Result<_, _>>().map_err(internal)?))
    }

    async fn get_xel_module(
        &self,
        caller: &Principal,
        request: GetXelModuleRequest,
    ) -> Result<GetXelModuleResponse, GetXelModuleError> {
        let (place, module) = find::<GetXelModuleError>(&request.module_id)?;
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let progress = Progress::read(&mut connection, &caller.user).await.map_err(internal)?;
        let stage = progress.modules.get(module.id.as_str());
        let summary = progress.summary(place);
        Ok(GetXelModuleResponse::Ok(XelModuleDetail {
            id: summary.id,
            title: summary.title,
            description: summary.description,
            level: summary.level,
            order: summary.order,
            status: summary.status,
            progress_percent: summary.progress_percent,
            tasks_total: summary.tasks_total,
            tasks_completed: summary.tasks_completed,
            objectives: module.objectives.clone(),
            tasks: module.tasks.iter().map(|task| shown(task, &progress.work(module, task))).collect(),
            started_at: nullable(stage.map(|stage| to_datetime(stage.started_ms))),
            completed_at: nullable(stage.and_then(|stage| stage.completed_ms).map(to_datetime)),
        }))
    }

    async fn submit_xel_task(
        &self,
        caller: &Principal,
        request: SubmitXelTaskRequest,
    ) -> Result<SubmitXelTaskResponse, SubmitXelTaskError> {
        let (answer, now) = (request.body, self.0.clock.now_ms());
        let (place, module) = find::<SubmitXelTaskError>(&answer.module_id)?;
        let task = module.task(&answer.task_id).filter(|task| skill(task.skill) == answer.skill).ok_or_else(no_task)?;
        let id = new_id("sub").map_err(internal)?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let progress = Progress::read(write.run(), &caller.user).await.map_err(internal)?;
        progress.unlocked(place)?;
        let mut work = progress.work(module, task);
        let scored = task.variant(work.variant).score(&answer.response);
        let before = work.best.unwrap_or(0.0);
        work.best = Some(before.max(scored.score));
        work.submitted_ms = Some(now);

        sqlx::query(
            "INSERT INTO xel_modules (user_id, module_id, started_ms, completed_ms, first_completed_ms) \
             VALUES ($1, $2, $3, NULL, NULL) ON CONFLICT (user_id, module_id) DO NOTHING",
        )
        .bind(&caller.user)
        .bind(&module.id)
        .bind(now)
        .execute(write.run())
        .await
        .map_err(internal)?;
        sqlx::query(
            "INSERT INTO xel_submissions (id, user_id, module_id, task_id, variant, response, score, \
             time_spent_seconds, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&id)
        .bind(&caller.user)
        .bind(&module.id)
        .bind(&task.id)
        .bind(i64::from(small(work.variant)))
        .bind(&answer.response)
        .bind(scored.score)
        .bind(answer.time_spent_seconds.map(i64::from))
        .bind(now)
        .execute(write.run())
        .await
        .map_err(internal)?;
        keep(&mut write, &caller.user, module, task, &work).await.map_err(internal)?;
        record_xpi(&mut write, &caller.user, now).await.map_err(internal)?;
        let xp = whole((scored.score - before).max(0.0) / POINTS_A_XP);
        let deed = Deed { kind: Kind::Task, reference: &id, xp, quantity: 1 };
        let xp_earned = progress::earn(&mut write, &caller.user, deed, now).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(SubmitXelTaskResponse::Ok(XelTaskSubmissionResponse {
            submission_id: id,
            module_id: module.id.clone(),
            task_id: task.id.clone(),
            skill: answer.skill,
            score: nullable(Some(scored.score)),
            is_correct: nullable(scored.correct),
            feedback: nullable(Some(scored.feedback)),
            xp_earned,
            submitted_at: to_datetime(now),
        }))
    }

    async fn evaluate_xel_response(
        &self,
        caller: &Principal,
        request: EvaluateXelResponseRequest,
    ) -> Result<EvaluateXelResponseResponse, EvaluateXelResponseError> {
        let wanted = request.body;
        let task = match (wanted.module_id.value(), wanted.task_id.value()) {
            (Some(module), Some(task)) => {
                let (_, module) = find::<EvaluateXelResponseError>(&module)?;
                let task = module.task(&task).filter(|task| produced(task.skill) == Some(wanted.skill));
                Some((module, task.ok_or_else(no_task)?))
            }
            (Some(module), None) => find::<EvaluateXelResponseError>(&module).map(|_| None)?,
            (None, Some(_)) => return Err(no_task().into()),
            (None, None) => None,
        };
        let mut asked = evaluation::Asked { prompt: None, points: &[], words: FREE_WORDS };
        if let Some((module, task)) = task {
            let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
            let progress = Progress::read(&mut connection, &caller.user).await.map_err(internal)?;
            if let Variant::Production { prompt, points, words } = task.variant(progress.work(module, task).variant) {
                asked = evaluation::Asked { prompt: Some(prompt), points, words: *words };
            }
        }
        let judged = evaluation::evaluate(self.0.provider.as_ref(), wanted.skill.as_str(), &asked, &wanted.response)
            .await
            .map_err(internal)?;
        Ok(EvaluateXelResponseResponse::Ok(XelEvaluationResponse {
            skill: wanted.skill,
            score: judged.score(),
            feedback: judged.feedback,
            criteria: judged.criteria,
            strengths: judged.strengths,
            improvements: judged.improvements,
            corrected_text: nullable(judged.corrected_text),
        }))
    }

    async fn get_xel_dashboard(
        &self,
        caller: &Principal,
        _: GetXelDashboardRequest,
    ) -> Result<GetXelDashboardResponse, GetXelDashboardError> {
        // One snapshot, or the parts may contradict each other.
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let progress = Progress::read(&mut snapshot, &caller.user).await.map_err(internal)?;
        let row = sqlx::query(
            "SELECT CAST(COALESCE(SUM(ended_ms - started_ms), 0) AS BIGINT) FROM xel_sessions \
             WHERE user_id = $1 AND ended_ms IS NOT NULL",
        )
        .bind(&caller.user)
        .fetch_one(&mut *snapshot)
        .await
        .map_err(internal)?;
        snapshot.commit().await.map_err(internal)?;
        let total: i64 = column(&row, 0).map_err(internal)?;
        let having = |status| (0..course().len()).filter(|place| progress.status(*place) == status).count();
        Ok(GetXelDashboardResponse::Ok(XelDashboardResponse {
            modules_total: small(course().len()),
            modules_completed: small(having(XelModuleStatus::Completed)),
            modules_in_progress: small(having(XelModuleStatus::InProgress)),
            current_module: nullable(progress.current().map(|place| progress.summary(place))),
            xpi: progress.xpi(),
            total_time_spent_seconds: total / 1000,
        }))
    }
}

fn no_task() -> NotFound {
    not_found("Task not found")
}

fn no_session() -> NotFound {
    not_found("Learning session not found")
}

/// A module and its place in the course, from 0.
fn find<E: From<NotFound>>(id: &str) -> Result<(usize, &'static Module), E> {
    curriculum::module(id).ok_or_else(|| not_found("Module not found").into())
}

/// Makes sure that a session is the user's own.
async fn own_session<E>(connection: &mut AnyConnection, user: &str, session: &str) -> Result<(), E>
where
    E: From<NotFound> + From<InternalServerError>,
{
    sqlx::query("SELECT id FROM xel_sessions WHERE id = $1 AND user_id = $2")
        .bind(session)
        .bind(user)
        .fetch_optional(connection)
        .await
        .map_err(internal)?
        .ok_or_else(no_session)?;
    Ok(())
}

/// How far a user is with a module that was started.
#[derive(Clone, Debug)]
struct Stage {
    started_ms: i64,
    /// Empty while it is open for revision.
    completed_ms: Option<i64>,
    first_completed_ms: Option<i64>,
}

/// What a user has done with a task.
#[derive(Clone, Debug, Default)]
struct Work {
    /// The variant that is set, from 0.
    variant: usize,
    best: Option<f64>,
    submitted_ms: Option<i64>,
}

/// How far a user is in the course.
#[derive(Clone, Debug, Default)]
struct Progress {
    modules: HashMap<String, Stage>,
    /// By module and task.
    tasks: BTreeMap<(String, String), Work>,
    /// Best scores, the task that was submitted last first.
    bests: Vec<(Skill, f64)>,
}

impl Progress {
    /// Reads it in two queries, however much there is.
    async fn read(connection: &mut AnyConnection, user: &str) -> Result<Self, StoreError> {
        let mut progress = Self::default();
        let rows = sqlx::query(
            "SELECT module_id, started_ms, completed_ms, first_completed_ms FROM xel_modules WHERE user_id = $1",
        )
        .bind(user)
        .fetch_all(&mut *connection)
        .await?;
        for row in &rows {
            let stage = Stage {
                started_ms: column(row, 1)?,
                completed_ms: column(row, 2)?,
                first_completed_ms: column(row, 3)?,
            };
            progress.modules.insert(column(row, 0)?, stage);
        }
        let rows = sqlx::query(
            "SELECT module_id, task_id, skill, variant, best_score, submitted_ms FROM xel_tasks WHERE user_id = $1 \
             ORDER BY submitted_ms DESC, module_id, task_id",
        )
        .bind(user)
        .fetch_all(connection)
        .await?;
        for row in &rows {
            let work = Work {
                variant: usize::try_from(column::<i64>(row, 3)?).unwrap_or(0),
                best: column(row, 4)?,
                submitted_ms: column(row, 5)?,
            };
            if let (Some(best), Some(skill)) = (work.best, Skill::from_stored(column(row, 2)?)) {
                progress.bests.push((skill, best));
            }
            progress.tasks.insert((column(row, 0)?, column(row, 1)?), work);
        }
        Ok(progress)
    }

    fn work(&self, module: &Module, task: &Task) -> Work {
        self.tasks.get(&(module.id.clone(), task.id.clone())).cloned().unwrap_or_default()
    }

    fn status(&self, place: usize) -> XelModuleStatus {
        let stage = |place: usize| course().get(place).and_then(|module| self.modules.get(&module.id));
        match stage(place) {
            Some(Stage { completed_ms: Some(_), .. }) => XelModuleStatus::Completed,
            Some(_) => XelModuleStatus::InProgress,
            None if place == 0 || stage(place - 1).is_some_and(|before| before.first_completed_ms.is_some()) => {
                XelModuleStatus::Available
            }
            None => XelModuleStatus::Locked,
        }
    }

    /// Refuses what a locked module would have to answer for.
    fn unlocked(&self, place: usize) -> Result<(), Forbidden> {
        match self.status(place) {
            XelModuleStatus::Locked => Err(Forbidden::because("Complete the module before this one first.")),
            _ => Ok(()),
        }
    }

    /// The mean of the best scores of a module's tasks; what was not submitted counts 0.
    fn mean(&self, module: &Module) -> f64 {
        let sum: f64 = module.tasks.iter().filter_map(|task| self.work(module, task).best).sum();
        sum / f64::from(small(module.tasks.len().max(1)))
    }

    fn summary(&self, place: usize) -> XelModuleSummary {
        let module = &course()[place];
        let done = module.tasks.iter().filter(|task| self.work(module, task).best.is_some()).count();
        let status = self.status(place);
        let percent = match status {
            XelModuleStatus::Completed => 100.0,
            _ => round(f64::from(small(done)) * 100.0 / f64::from(small(module.tasks.len().max(1)))),
        };
        XelModuleSummary {
            id: module.id.clone(),
            title: module.title.clone(),
            description: nullable(Some(module.description.clone())),
            level: nullable(Some(module.level.clone())),
            order: small(place + 1),
            status,
            progress_percent: percent,
            tasks_total: small(module.tasks.len()),
            tasks_completed: small(done),
        }
    }

    /// The module in progress that was started last, or the first that can be started.
    fn current(&self) -> Option<usize> {
        let in_progress = (0..course().len()).filter(|place| self.status(*place) == XelModuleStatus::InProgress);
        let started = |place: &usize| self.modules.get(&course()[*place].id).map(|stage| stage.started_ms);
        in_progress
            .max_by_key(started)
            .or_else(|| (0..course().len()).find(|place| self.status(*place) == XelModuleStatus::Available))
    }

    fn xpi(&self) -> XelXpiResponse {
        let (xpi, by_skill) = curriculum::xpi(&self.bests);
        let of = |skill: Skill| by_skill.get(&skill).copied().unwrap_or(0.0);
        XelXpiResponse {
            xpi,
            reading: of(Skill::Reading),
            writing: of(Skill::Writing),
            listening: of(Skill::Listening),
            speaking: of(Skill::Speaking),
            updated_at: nullable(self.tasks.values().filter_map(|work| work.submitted_ms).max().map(to_datetime)),
        }
    }
}

/// Writes down what a user has done with a task.
async fn keep(write: &mut Write, user: &str, module: &Module, task: &Task, work: &Work) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO xel_tasks (user_id, module_id, task_id, skill, variant, best_score, submitted_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id, module_id, task_id) DO UPDATE SET \
         variant = excluded.variant, best_score = excluded.best_score, submitted_ms = excluded.submitted_ms",
    )
    .bind(user)
    .bind(&module.id)
    .bind(&task.id)
    .bind(task.skill.as_str())
    .bind(i64::from(small(work.variant)))
    .bind(work.best)
    .bind(work.submitted_ms)
    .execute(write.run())
    .await?;
    Ok(())
}

/// Adds to the history if the XPI has changed.
async fn record_xpi(write: &mut Write, user: &str, now: i64) -> Result<(), StoreError> {
    let xpi = Progress::read(write.run(), user).await?.xpi().xpi;
    let row = sqlx::query("SELECT step, xpi FROM xel_xpi WHERE user_id = $1 ORDER BY step DESC LIMIT 1")
        .bind(user)
        .fetch_optional(write.run())
        .await?;
    let last: Option<(i64, f64)> =
        row.map(|row| Ok::<_, StoreError>((column(&row, 0)?, column(&row, 1)?))).transpose()?;
    // Figures of one decimal: less than a twentieth apart is the same.
    if last.is_some_and(|(_, before)| (before - xpi).abs() < 0.05) {
        return Ok(());
    }
    sqlx::query("INSERT INTO xel_xpi (user_id, step, xpi, change, recorded_ms) VALUES ($1, $2, $3, $4, $5)")
        .bind(user)
        .bind(last.map_or(0, |(step, _)| step + 1))
        .bind(xpi)
        .bind(last.map(|(_, before)| round(xpi - before)))
        .bind(now)
        .execute(write.run())
        .await?;
    Ok(())
}

fn shown(task: &Task, work: &Work) -> XelTask {
    XelTask {
        task_id: task.id.clone(),
        skill: skill(task.skill),
        title: task.title.clone(),
        prompt: task.variant(work.variant).prompt(task.skill),
        status: if work.best.is_some() { XelTaskStatus::Submitted } else { XelTaskStatus::Pending },
        score: nullable(work.best),
    }
}

fn skill(skill: Skill) -> XelSkill {
    match skill {
        Skill::Reading => XelSkill::Reading,
        Skill::Writing => XelSkill::Writing,
        Skill::Listening => XelSkill::Listening,
        Skill::Speaking => XelSkill::Speaking,
    }
}

fn produced(skill: Skill) -> Option<XelProducedSkill> {
    match skill {
        Skill::Writing => Some(XelProducedSkill::Writing),
        Skill::Speaking => Some(XelProducedSkill::Speaking),
        Skill::Reading | Skill::Listening => None,
    }
}

/// Points to XP.
#[allow(clippy::cast_possible_truncation)] // Scores are between 0 and 100.
fn whole(points: f64) -> i64 {
    points.round() as i64
}
