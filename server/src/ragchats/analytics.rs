//! Analytics — documentation section "Analytics". Computed from the log of queries at the time of asking.

use std::collections::BTreeMap;

use contract_ragchats::server::{
    Analytics, GetAgentAnalyticsError, GetAgentAnalyticsRequest, GetAgentAnalyticsResponse,
};
use contract_ragchats::types::{AgentAnalytics, DailyQueries, GetAgentAnalyticsPeriod, TopQuery};
use uuid::Uuid;

use super::Service;
use super::access::{Principal, internal};
use super::agents;
use crate::platform::clock::{DAY_MS, utc_date};
use crate::platform::store::{StoreError, column};

/// Questions listed as asked most, as in the documentation's sample.
const TOP_QUERIES: i64 = 5;

impl Analytics for Service {
    type Principal = Principal;

    async fn get_agent_analytics(
        &self,
        caller: &Principal,
        request: GetAgentAnalyticsRequest,
    ) -> Result<GetAgentAnalyticsResponse, GetAgentAnalyticsError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        agents::find::<GetAgentAnalyticsError>(&mut connection, caller.user()?, request.agent_id).await?;
        drop(connection);
        let days = match request.period {
            GetAgentAnalyticsPeriod::Day => 1,
            GetAgentAnalyticsPeriod::Week => 7,
            GetAgentAnalyticsPeriod::Month => 30,
        };
        Ok(GetAgentAnalyticsResponse::Ok(self.usage(request.agent_id, days).await.map_err(internal)?))
    }
}

impl Service {
    /// The usage of an agent over `days` UTC calendar days, the last of which is today.
    async fn usage(&self, agent: Uuid, days: i64) -> Result<AgentAnalytics, StoreError> {
        let today = self.0.clock.now_ms().div_euclid(DAY_MS);
        let first = today - (days - 1);
        let (from, until) = (first * DAY_MS, (today + 1) * DAY_MS);

        // One snapshot: a query that is logged between two reads would make them contradict each other.
        let mut snapshot = self.0.store.reader().begin().await?;
        let rows = sqlx::query(
            "SELECT created_ms / 86400000, COUNT(*), CAST(SUM(succeeded) AS BIGINT), CAST(SUM(latency_ms) AS BIGINT) \
             FROM queries WHERE agent_id = $1 AND created_ms >= $2 AND created_ms < $3 \
             GROUP BY created_ms / 86400000",
        )
        .bind(agent.to_string())
        .bind(from)
        .bind(until)
        .fetch_all(&mut *snapshot)
        .await?;
        let mut by_day = BTreeMap::new();
        let (mut total, mut succeeded, mut latency) = (0_i64, 0_i64, 0_i64);
        for row in &rows {
            let count: i64 = column(row, 1)?;
            by_day.insert(column::<i64>(row, 0)?, count);
            total += count;
            succeeded += column::<i64>(row, 2)?;
            latency += column::<i64>(row, 3)?;
        }
        let top = sqlx::query(
            "SELECT message, COUNT(*) AS asked FROM queries WHERE agent_id = $1 AND created_ms >= $2 AND created_ms < $3 \
             GROUP BY message ORDER BY asked DESC, message LIMIT $4",
        )
        .bind(agent.to_string())
        .bind(from)
        .bind(until)
        .bind(TOP_QUERIES)
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.commit().await?;

        Ok(AgentAnalytics {
            total_queries: total,
            average_latency_ms: ratio(latency, total).unwrap_or(0.0),
            // Nothing asked is nothing failed.
            success_rate: ratio(succeeded, total).unwrap_or(1.0),
            top_queries: top
                .iter()
                .map(|row| Ok(TopQuery { query: column(row, 0)?, count: column(row, 1)? }))
                .collect::<Result<_, StoreError>>()?,
            queries_per_day: (first..=today)
                .map(|day| DailyQueries { date: utc_date(day * DAY_MS), count: by_day.get(&day).copied().unwrap_or(0) })
                .collect(),
        })
    }
}

#[allow(clippy::cast_precision_loss)] // Exact up to 2⁵³, which no count of queries reaches.
fn ratio(part: i64, whole: i64) -> Option<f64> {
    (whole != 0).then(|| part as f64 / whole as f64)
}
