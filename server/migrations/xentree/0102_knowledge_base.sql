-- `scope` is what a search names to see the document; see the module on the knowledge base.
CREATE TABLE rag_documents (
    id              TEXT PRIMARY KEY NOT NULL,
    user_id         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    organization_id TEXT REFERENCES organizations (id) ON DELETE CASCADE,
    conversation_id TEXT REFERENCES conversations (id) ON DELETE SET NULL,
    scope           TEXT NOT NULL,
    filename        TEXT NOT NULL,
    title           TEXT,
    content_type    TEXT NOT NULL,
    size_bytes      BIGINT NOT NULL,
    status          TEXT NOT NULL,
    message         TEXT,
    visibility      TEXT NOT NULL,
    chunk_count     BIGINT NOT NULL,
    created_ms      BIGINT NOT NULL,
    updated_ms      BIGINT NOT NULL
);
CREATE INDEX rag_documents_by_user ON rag_documents (user_id, created_ms);
CREATE INDEX rag_documents_by_organization ON rag_documents (organization_id, visibility, created_ms);

CREATE TABLE rag_chunks (
    id          TEXT PRIMARY KEY NOT NULL,
    document_id TEXT NOT NULL REFERENCES rag_documents (id) ON DELETE CASCADE,
    ordinal     BIGINT NOT NULL,
    content     TEXT NOT NULL
);
CREATE INDEX rag_chunks_by_document ON rag_chunks (document_id, ordinal);
