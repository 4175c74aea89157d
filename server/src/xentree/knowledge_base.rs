//! Knowledge base — documentation section "Knowledge Base": documents, the passages in them, and answers from those.
//!
//! A document is found by its uploader and, if it is shared, by the uploader's organization. What a search names is a
//! *scope*: organization, uploader, visibility and conversation of a document in one text. Which scopes a caller may name
//! is read from the documents that the caller may see, so a passage of anybody else's cannot even be ranked.

use std::collections::HashMap;

use contract_xentree::problems::BadRequest;
use contract_xentree::server::{
    KnowledgeBase, ListDocumentsError, ListDocumentsRequest, ListDocumentsResponse, QueryKnowledgeError,
    QueryKnowledgeRequest, QueryKnowledgeResponse, SearchKnowledgeBaseError, SearchKnowledgeBaseRequest,
    SearchKnowledgeBaseResponse, UploadDocumentError, UploadDocumentRequest, UploadDocumentResponse,
};
use contract_xentree::types::{
    KnowledgeSearchResponse, KnowledgeSearchResultItem, RagDocument, RagDocumentStatus, RagQueryResponse,
    RagUploadResponse, RagVisibility,
};
use serde_json::{Map, Value};
use sqlx::any::AnyRow;

use super::Service;
use super::access::{Principal, bad_request, internal, new_id, page, word};
use super::content_index::score;
use super::conversations;
use super::wire::{count, nullable, shorten};
use crate::platform::clock::to_datetime;
use crate::platform::ingest::{self, Media};
use crate::platform::model::{Passage, Purpose, Question};
use crate::platform::search::{self, Entry, Hit};
use crate::platform::store::{StoreError, Write, column, placeholders};

/// Largest file, in bytes.
const MAX_FILE_BYTES: u64 = 10 * 1024 * 1024;

/// Characters of a file name that are kept.
const MAX_NAME: usize = 255;

/// Length of an answer in tokens at most.
const ANSWER_TOKENS: u32 = 1_024;

const INSTRUCTIONS: &str = "Answer the question from the passages alone. Where they say nothing about it, say so.";

/// The model that makes answers.
const MODEL: &str = "gpt-5-mini";

/// What a caller may see of `rag_documents AS d`: `$1` is the user, `$2` the organization that a key is tied to, or nothing.
const VISIBLE: &str = "((d.user_id = $1 AND ($2 = '' OR d.organization_id = $2)) OR (d.visibility = 'shared' AND \
     d.organization_id IN (SELECT m.organization_id FROM memberships AS m WHERE m.user_id = $1 \
     AND ($2 = '' OR m.organization_id = $2))))";

impl KnowledgeBase for Service {
    type Principal = Principal;

    async fn search_knowledge_base(
        &self,
        caller: &Principal,
        request: SearchKnowledgeBaseRequest,
    ) -> Result<SearchKnowledgeBaseResponse, SearchKnowledgeBaseError> {
        let wanted = request.body;
        let wish = Wish {
            query: &wanted.query,
            most: wanted.top_k,
            conversation: wanted.conversation_id.value(),
            shared: wanted.include_shared,
        };
        let results = self.passages(caller, &wish).await.map_err(internal)?;
        let total = count(results.len());
        Ok(SearchKnowledgeBaseResponse::Ok(KnowledgeSearchResponse { query: wanted.query, results, total }))
    }

    async fn list_documents(
        &self,
        caller: &Principal,
        request: ListDocumentsRequest,
    ) -> Result<ListDocumentsResponse, ListDocumentsError> {
        let (limit, offset) = page(request.page, request.limit);
        let sql = format!(
            "SELECT d.id, d.filename, d.title, d.content_type, d.size_bytes, d.status, d.visibility, d.chunk_count, \
             d.created_ms, d.updated_ms FROM rag_documents AS d WHERE {VISIBLE} \
             ORDER BY d.created_ms DESC, d.id LIMIT $3 OFFSET $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&caller.user)
            .bind(caller.tied_to().unwrap_or_default())
            .bind(limit)
            .bind(offset)
            .fetch_all(self.0.store.reader())
            .await
            .map_err(internal)?;
        Ok(ListDocumentsResponse::Ok(rows.iter().map(document_from_row).collect::<Result<_, _>>().map_err(internal)?))
    }

    async fn upload_document(
        &self,
        caller: &Principal,
        request: UploadDocumentRequest,
    ) -> Result<UploadDocumentResponse, UploadDocumentError> {
        let form = request.body;
        if form.file.is_empty() {
            return Err(bad_file("it is empty").into());
        }
        if form.file.len() > MAX_FILE_BYTES {
            return Err(bad_file("it is larger than 10 MiB").into());
        }
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        if let Some(conversation) = &form.conversation_id {
            conversations::own::<UploadDocumentError>(&mut connection, &caller.user, conversation).await?;
        }
        let organization = self.tenant(&mut connection, caller).await.map_err(internal)?;
        drop(connection);

        let content = form.file.bytes().await.map_err(internal)?;
        let media = match Media::detect(form.file.content_type.as_deref(), form.file.file_name.as_deref(), &content) {
            Some(media @ (Media::Text | Media::Markdown | Media::Html | Media::Pdf)) => media,
            _ => return Err(bad_file("it must be plain text, Markdown, HTML or PDF").into()),
        };
        let name = form.file.file_name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let document = NewDocument {
            id: new_id("doc").map_err(internal)?,
            user: &caller.user,
            organization,
            conversation: form.conversation_id,
            filename: shorten(name.unwrap_or("Untitled document"), MAX_NAME),
            title: form.title,
            media,
            bytes: content.len(),
            visibility: form.visibility.unwrap_or(RagVisibility::Private),
        };
        // Text is taken out before the write begins: nobody else should wait for a slow file.
        let extracted = self.0.extractor.extract(media, content).await;
        let (pieces, message) = match extracted {
            Ok(text) => (ingest::pieces(&text), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };

        let mut write = self.0.store.write().await.map_err(internal)?;
        if let Some(conversation) = &document.conversation {
            // It may have been deleted while the file was read.
            conversations::own::<UploadDocumentError>(write.run(), &caller.user, conversation).await?;
        }
        let status = if message.is_none() { RagDocumentStatus::Ready } else { RagDocumentStatus::Failed };
        let now = self.0.clock.now_ms();
        document.insert(&mut write, status, message.as_deref(), &pieces, now).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(UploadDocumentResponse::Created(RagUploadResponse {
            document_id: document.id,
            filename: document.filename,
            status,
            chunks_indexed: nullable(Some(count(pieces.len()))),
            message: nullable(message),
        }))
    }

    async fn query_knowledge(
        &self,
        caller: &Principal,
        request: QueryKnowledgeRequest,
    ) -> Result<QueryKnowledgeResponse, QueryKnowledgeError> {
        let wanted = request.body;
        let conversation = wanted.conversation_id.value();
        let wish = Wish { query: &wanted.query, most: wanted.top_k, conversation, shared: true };
        let sources = self.passages(caller, &wish).await.map_err(internal)?;
        let passage = |item: &KnowledgeSearchResultItem| Passage {
            title: item.title.clone().value().unwrap_or_default(),
            text: item.content.clone(),
        };
        let question = Question {
            purpose: Purpose::Answer,
            key: None,
            model: MODEL.to_owned(),
            temperature: 0.2,
            max_tokens: ANSWER_TOKENS,
            instructions: INSTRUCTIONS.to_owned(),
            history: Vec::new(),
            message: wanted.query.clone(),
            passages: sources.iter().map(passage).collect(),
            general_knowledge: false,
        };
        let completion = self.0.provider.answer(&question).await.map_err(internal)?;
        Ok(QueryKnowledgeResponse::Ok(RagQueryResponse { answer: completion.text, sources, query: Some(wanted.query) }))
    }
}

/// What somebody looks for.
struct Wish<'a> {
    query: &'a str,
    most: i32,
    /// Only what belongs to this conversation.
    conversation: Option<String>,
    /// With what others share.
    shared: bool,
}

impl Service {
    /// The passages that match best among those that the caller may see.
    async fn passages(
        &self,
        caller: &Principal,
        wish: &Wish<'_>,
    ) -> Result<Vec<KnowledgeSearchResultItem>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT d.scope FROM rag_documents AS d WHERE {VISIBLE} AND d.chunk_count > 0 \
             AND ($3 = '' OR d.conversation_id = $3) AND ($4 = 1 OR d.user_id = $1) ORDER BY d.scope"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&caller.user)
            .bind(caller.tied_to().unwrap_or_default())
            .bind(wish.conversation.as_deref().unwrap_or_default())
            .bind(i64::from(wish.shared))
            .fetch_all(self.0.store.reader())
            .await?;
        let scopes = rows.iter().map(|row| column(row, 0)).collect::<Result<Vec<String>, _>>()?;
        let most = usize::try_from(wish.most).unwrap_or(1);
        let hits = search::find(&self.0.store, &scopes, wish.query, most).await?;
        self.items(&hits).await
    }

    /// What is shown of the pieces that were found, in their order, in one query.
    async fn items(&self, hits: &[Hit]) -> Result<Vec<KnowledgeSearchResultItem>, StoreError> {
        if hits.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT c.id, c.document_id, COALESCE(d.title, d.filename), c.content, d.filename, c.ordinal \
             FROM rag_chunks AS c JOIN rag_documents AS d ON d.id = c.document_id WHERE c.id IN ({})",
            placeholders(1, hits.len())
        );
        let mut statement = sqlx::query(sqlx::AssertSqlSafe(sql));
        for hit in hits {
            statement = statement.bind(hit.item.as_str());
        }
        let rows = statement.fetch_all(self.0.store.reader()).await?;
        let by_id =
            rows.iter().map(|row| Ok((column::<&str>(row, 0)?, row))).collect::<Result<HashMap<_, _>, StoreError>>()?;
        let found = hits.iter().filter_map(|hit| by_id.get(hit.item.as_str()).map(|row| (hit, row)));
        found
            .map(|(hit, row)| {
                let position: i64 = column(row, 5)?;
                Ok(KnowledgeSearchResultItem {
                    id: column(row, 0)?,
                    document_id: nullable(Some(column(row, 1)?)),
                    title: nullable(Some(column(row, 2)?)),
                    content: column(row, 3)?,
                    score: score(hit),
                    source: nullable(Some(column(row, 4)?)),
                    metadata: nullable(Some(Map::from_iter([("position".to_owned(), Value::from(position))]))),
                })
            })
            .collect()
    }
}

/// A document as it is stored.
struct NewDocument<'a> {
    id: String,
    user: &'a str,
    organization: Option<String>,
    conversation: Option<String>,
    filename: String,
    title: Option<String>,
    media: Media,
    bytes: usize,
    visibility: RagVisibility,
}

impl NewDocument<'_> {
    /// What a search has to name to see the document.
    fn scope(&self) -> String {
        let organization = self.organization.as_deref().unwrap_or("-");
        let conversation = self.conversation.as_deref().unwrap_or("-");
        format!("knowledge/{organization}/{}/{}/{conversation}", self.user, self.visibility.as_str())
    }

    /// Writes the document with its pieces, and the pieces into the index.
    async fn insert(
        &self,
        write: &mut Write,
        status: RagDocumentStatus,
        message: Option<&str>,
        pieces: &[String],
        now: i64,
    ) -> Result<(), StoreError> {
        let scope = self.scope();
        sqlx::query(
            "INSERT INTO rag_documents (id, user_id, organization_id, conversation_id, scope, filename, title, \
             content_type, size_bytes, status, message, visibility, chunk_count, created_ms, updated_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        )
        .bind(&self.id)
        .bind(self.user)
        .bind(&self.organization)
        .bind(&self.conversation)
        .bind(&scope)
        .bind(&self.filename)
        .bind(&self.title)
        .bind(self.media.as_str())
        .bind(count(self.bytes))
        .bind(status.as_str())
        .bind(message)
        .bind(self.visibility.as_str())
        .bind(count(pieces.len()))
        .bind(now)
        .bind(now)
        .execute(write.run())
        .await?;
        let ids: Vec<String> = (0..pieces.len()).map(|ordinal| format!("{}.{ordinal}", self.id)).collect();
        for ((id, ordinal), piece) in ids.iter().zip(0_i64..).zip(pieces) {
            sqlx::query("INSERT INTO rag_chunks (id, document_id, ordinal, content) VALUES ($1, $2, $3, $4)")
                .bind(id)
                .bind(&self.id)
                .bind(ordinal)
                .bind(piece)
                .execute(write.run())
                .await?;
        }
        let entries: Vec<Entry<'_>> =
            ids.iter().zip(pieces).map(|(item, text)| Entry { item, scope: &scope, text }).collect();
        search::put(write, &entries).await
    }
}

fn bad_file(reason: &str) -> BadRequest {
    bad_request(format!("The field \"file\" is not valid: {reason}."))
}

fn document_from_row(row: &AnyRow) -> Result<RagDocument, StoreError> {
    Ok(RagDocument {
        id: column(row, 0)?,
        filename: column(row, 1)?,
        title: nullable(column(row, 2)?),
        content_type: nullable(Some(column(row, 3)?)),
        size_bytes: nullable(Some(column(row, 4)?)),
        status: word(column(row, 5)?)?,
        visibility: word(column(row, 6)?)?,
        chunk_count: nullable(Some(column(row, 7)?)),
        created_at: to_datetime(column(row, 8)?),
        updated_at: nullable(Some(to_datetime(column(row, 9)?))),
    })
}
