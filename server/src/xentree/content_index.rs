//! Full-text search over what a user has written and been told: titles of conversations, messages, notes. Each user's
//! content of each kind is a scope of its own, and a search names only the caller's, so that nothing of anybody else can
//! come up.

use std::collections::HashMap;

use contract_xentree::types::{
    CoreSearchConversationResult, CoreSearchMessageResult, CoreSearchNoteResult, CoreSearchResponse, SearchCollection,
    TypesenseCollectionStatus, TypesenseStatusResponse,
};
use futures::future::BoxFuture;
use sqlx::any::AnyRow;

use super::Service;
use super::access::word;
use super::wire::{count, nullable, shorten};
use crate::platform::clock::to_datetime;
use crate::platform::jobs::{Handler, Job};
use crate::platform::search::{self, Entry, Hit};
use crate::platform::store::{StoreError, Write, column, placeholders};

/// The kind of job that makes a collection anew; its subject is the collection's name.
pub(super) const REINDEX: &str = "xentree.reindex";

/// Entries that a rebuild writes in one transaction, so that a long one does not hold up other writers for long.
const ENTRIES_PER_WRITE: i64 = 200;

/// Characters of a snippet at most.
const SNIPPET: usize = 240;

pub(super) const COLLECTIONS: [SearchCollection; 3] =
    [SearchCollection::Conversations, SearchCollection::Messages, SearchCollection::Notes];

/// The scope of a user's content of a kind.
fn scope(collection: SearchCollection, user: &str) -> String {
    format!("{}{user}", prefix(collection))
}

fn prefix(collection: SearchCollection) -> String {
    format!("content/{}/", collection.as_str())
}

/// Puts one thing into the index, in place of what was there of it.
pub(super) async fn put(
    write: &mut Write,
    collection: SearchCollection,
    user: &str,
    item: &str,
    text: &str,
) -> Result<(), StoreError> {
    search::put(write, &[Entry { item, scope: &scope(collection, user), text }]).await
}

/// What a note is found by.
pub(super) fn note_text(title: &str, content: &str, tags: &[String]) -> String {
    format!("{title}\n{content}\n{}", tags.join(" "))
}

impl Service {
    /// What of the user's content matches, at most `limit` of each kind.
    pub(super) async fn search_content(
        &self,
        user: &str,
        query: &str,
        limit: usize,
    ) -> Result<CoreSearchResponse, StoreError> {
        let conversations = self
            .found(
                SearchCollection::Conversations,
                user,
                query,
                limit,
                "SELECT id, title, updated_ms FROM conversations WHERE user_id = $1 AND id IN ",
                |row, hit| {
                    Ok(CoreSearchConversationResult {
                        id: column(row, 0)?,
                        title: column(row, 1)?,
                        snippet: nullable(Some(snippet(column(row, 1)?, query))),
                        updated_at: nullable(Some(to_datetime(column(row, 2)?))),
                        score: nullable(Some(score(hit))),
                    })
                },
            )
            .await?;
        let messages = self
            .found(
                SearchCollection::Messages,
                user,
                query,
                limit,
                "SELECT m.id, m.conversation_id, c.title, m.role, m.content, m.created_ms FROM messages AS m \
                 JOIN conversations AS c ON c.id = m.conversation_id WHERE c.user_id = $1 AND m.id IN ",
                |row, hit| {
                    Ok(CoreSearchMessageResult {
                        id: column(row, 0)?,
                        conversation_id: column(row, 1)?,
                        conversation_title: nullable(Some(column(row, 2)?)),
                        role: word(column(row, 3)?)?,
                        snippet: snippet(column(row, 4)?, query),
                        created_at: nullable(Some(to_datetime(column(row, 5)?))),
                        score: nullable(Some(score(hit))),
                    })
                },
            )
            .await?;
        let notes = self
            .found(
                SearchCollection::Notes,
                user,
                query,
                limit,
                "SELECT id, title, content, updated_ms FROM notes WHERE user_id = $1 AND id IN ",
                |row, hit| {
                    let content: &str = column(row, 2)?;
                    let title: String = column(row, 1)?;
                    let text = if content.trim().is_empty() { title.as_str() } else { content };
                    Ok(CoreSearchNoteResult {
                        id: column(row, 0)?,
                        snippet: snippet(text, query),
                        title,
                        updated_at: to_datetime(column(row, 3)?),
                        score: score(hit),
                    })
                },
            )
            .await?;
        Ok(CoreSearchResponse {
            query: query.to_owned(),
            total: count(conversations.len() + messages.len() + notes.len()),
            conversations,
            messages,
            notes: Some(notes),
        })
    }

    /// The hits of a collection with what is stored of them, in two queries however many there are. What was deleted since
    /// it was found is left out.
    async fn found<T>(
        &self,
        collection: SearchCollection,
        user: &str,
        query: &str,
        limit: usize,
        select: &str,
        make: impl Fn(&AnyRow, &Hit) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let store = &self.0.store;
        let hits = search::find(store, &[scope(collection, user)], query, limit).await?;
        if hits.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("{select}({})", placeholders(2, hits.len()));
        let mut statement = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user);
        for hit in &hits {
            statement = statement.bind(hit.item.as_str());
        }
        let rows = statement.fetch_all(store.reader()).await?;
        let by_id =
            rows.iter().map(|row| Ok((column::<&str>(row, 0)?, row))).collect::<Result<HashMap<_, _>, StoreError>>()?;
        hits.iter().filter_map(|hit| by_id.get(hit.item.as_str()).map(|row| make(row, hit))).collect()
    }

    /// The state of the index, over all users.
    pub(super) async fn index_status(&self) -> Result<TypesenseStatusResponse, StoreError> {
        let mut collections = Vec::new();
        for collection in COLLECTIONS {
            let from = prefix(collection);
            // The character after the last of the prefix ends the range of the scopes that begin with it.
            let to = format!("{}0", from.trim_end_matches('/'));
            let row = sqlx::query("SELECT COUNT(*) FROM search_items WHERE scope >= $1 AND scope < $2")
                .bind(from)
                .bind(to)
                .fetch_one(self.0.store.reader())
                .await?;
            collections.push(TypesenseCollectionStatus { name: collection, num_documents: column(&row, 0)? });
        }
        let row = sqlx::query("SELECT MAX(finished_ms) FROM index_rebuilds").fetch_one(self.0.store.reader()).await?;
        Ok(TypesenseStatusResponse {
            enabled: true,
            healthy: true,
            collections,
            last_indexed_at: nullable(column::<Option<i64>>(&row, 0)?.map(to_datetime)),
            error: nullable(None),
        })
    }

    /// Makes a collection anew from what is stored: every entry is written again, and what nothing belongs to any more is
    /// removed. Searches go on meanwhile.
    async fn rebuild(&self, collection: SearchCollection) -> Result<(), StoreError> {
        let select = match collection {
            SearchCollection::Conversations => {
                "SELECT id, user_id, title, '', '[]' FROM conversations WHERE id > $1 ORDER BY id LIMIT $2"
            }
            SearchCollection::Messages => {
                "SELECT m.id, c.user_id, m.content, '', '[]' FROM messages AS m \
                 JOIN conversations AS c ON c.id = m.conversation_id WHERE m.id > $1 ORDER BY m.id LIMIT $2"
            }
            SearchCollection::Notes => {
                "SELECT id, user_id, title, content, tags FROM notes WHERE id > $1 ORDER BY id LIMIT $2"
            }
        };
        let mut after = String::new();
        loop {
            let mut write = self.0.store.write().await?;
            let rows = sqlx::query(select).bind(after.as_str()).bind(ENTRIES_PER_WRITE).fetch_all(write.run()).await?;
            for row in &rows {
                let (item, user): (&str, &str) = (column(row, 0)?, column(row, 1)?);
                let text = match collection {
                    SearchCollection::Notes => note_text(column(row, 2)?, column(row, 3)?, &tags(column(row, 4)?)?),
                    SearchCollection::Conversations | SearchCollection::Messages => column(row, 2)?,
                };
                put(&mut write, collection, user, item, &text).await?;
            }
            let last = rows.last().map(|row| column::<String>(row, 0)).transpose()?;
            write.commit().await?;
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        self.forget_strays(collection).await
    }

    /// Removes entries of things that are gone, and notes that the rebuild has ended.
    async fn forget_strays(&self, collection: SearchCollection) -> Result<(), StoreError> {
        let select = match collection {
            SearchCollection::Conversations => {
                "SELECT item FROM search_items WHERE scope >= $1 AND scope < $2 AND item NOT IN (SELECT id FROM conversations)"
            }
            SearchCollection::Messages => {
                "SELECT item FROM search_items WHERE scope >= $1 AND scope < $2 AND item NOT IN (SELECT id FROM messages)"
            }
            SearchCollection::Notes => {
                "SELECT item FROM search_items WHERE scope >= $1 AND scope < $2 AND item NOT IN (SELECT id FROM notes)"
            }
        };
        let from = prefix(collection);
        let to = format!("{}0", from.trim_end_matches('/'));
        let mut write = self.0.store.write().await?;
        let rows = sqlx::query(select).bind(from).bind(to).fetch_all(write.run()).await?;
        let strays = rows.iter().map(|row| column(row, 0)).collect::<Result<Vec<String>, _>>()?;
        search::remove_items(&mut write, &strays).await?;
        sqlx::query(
            "INSERT INTO index_rebuilds (collection, finished_ms) VALUES ($1, $2) \
             ON CONFLICT (collection) DO UPDATE SET finished_ms = excluded.finished_ms",
        )
        .bind(collection.as_str())
        .bind(self.0.clock.now_ms())
        .execute(write.run())
        .await?;
        write.commit().await
    }
}

/// Makes collections of the index anew in the background.
#[derive(Debug)]
pub(super) struct Reindex(pub(super) Service);

impl Handler for Reindex {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match job.subject.parse() {
                Ok(collection) if job.kind == REINDEX => self.0.rebuild(collection).await,
                _ => Err(StoreError::Corrupt(format!("job {:?} of {:?}", job.kind, job.subject))),
            }
        })
    }

    fn abandon<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            tracing::error!(collection = job.subject, "the search index could not be rebuilt");
            Ok(())
        })
    }
}

/// Stored tags.
pub(super) fn tags(json: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Corrupt(format!("tags of a note: {error}")))
}

/// To four digits: more would only show how the figure is made.
pub(super) fn score(hit: &Hit) -> f64 {
    (hit.score * 10_000.0).round() / 10_000.0
}

/// The line of a text that matches best, cut to a length that fits a list.
fn snippet(text: &str, query: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // The first of equals, so that the same text always shows the same.
    let best = lines.fold(None, |best: Option<(&str, f64)>, line| {
        let score = search::similarity(query, line);
        if best.is_some_and(|(_, most)| most >= score) { best } else { Some((line, score)) }
    });
    shorten(best.map_or(text.trim(), |(line, _)| line), SNIPPET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_is_the_line_that_matches() {
        assert_eq!(snippet("Hello.\n\nThe launch is in May.\nBye.", "launch"), "The launch is in May.");
        assert_eq!(snippet("one\ntwo", "three"), "one");
        assert_eq!(snippet(" \n ", "x"), "");
        assert!(snippet(&"word ".repeat(200), "word").chars().count() <= SNIPPET);
    }
}
