-- The full-text index, SQLite dialect. `scope` and `terms` hold words that the search module has made (lower case,
-- letters and digits only), so the tokenizer has nothing left to decide and another database can index the same text.
CREATE VIRTUAL TABLE search_index USING fts5(
    scope,
    terms,
    item UNINDEXED,
    tokenize = "unicode61 remove_diacritics 0"
);
-- Which index rows belong to which item, because an unindexed column cannot be looked up.
CREATE TABLE search_items (
    item    TEXT PRIMARY KEY NOT NULL,
    scope   TEXT NOT NULL,
    row_id  BIGINT NOT NULL
);
CREATE INDEX search_items_by_scope ON search_items (scope);
