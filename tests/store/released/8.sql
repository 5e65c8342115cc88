CREATE TABLE prompts (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    title TEXT NOT NULL,
    cwd TEXT NOT NULL,
    model TEXT NOT NULL,
    settings TEXT NOT NULL,
    parent TEXT NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0,
    messages INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sessions_by_age ON sessions (updated);
CREATE INDEX sessions_by_folder ON sessions (cwd, updated);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    tool_calls TEXT NOT NULL,
    tool_call_id TEXT NOT NULL,
    reasoning TEXT NOT NULL,
    at REAL NOT NULL,
    images TEXT NOT NULL DEFAULT '',
    UNIQUE (session_id, number)
) STRICT;
CREATE TABLE begun (
    session_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (session_id, call_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE decisions (
    session_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    allowed INTEGER NOT NULL,
    reason TEXT NOT NULL,
    scope TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (session_id, call_id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER session_deleted AFTER DELETE ON sessions BEGIN
    DELETE FROM begun WHERE session_id = old.id;
    DELETE FROM decisions WHERE session_id = old.id;
END;
CREATE TABLE tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    prompt TEXT NOT NULL,
    owner TEXT NOT NULL,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    settings TEXT NOT NULL,
    state TEXT NOT NULL,
    activity TEXT NOT NULL,
    created REAL NOT NULL,
    started REAL NOT NULL,
    finished REAL NOT NULL,
    steps INTEGER NOT NULL,
    usage TEXT NOT NULL,
    result TEXT NOT NULL,
    error TEXT NOT NULL,
    told INTEGER NOT NULL,
    name TEXT NOT NULL,
    options TEXT NOT NULL,
    receipt TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    held INTEGER NOT NULL,
    worker TEXT,
    pid INTEGER,
    process_started REAL,
    heartbeat REAL,
    claimed REAL NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX tasks_by_state ON tasks (state, owner);
CREATE INDEX tasks_by_owner ON tasks (owner, claimed);
CREATE INDEX tasks_by_session ON tasks (session_id);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    task INTEGER NOT NULL REFERENCES tasks (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    at REAL NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    UNIQUE (task, number)
) STRICT;
CREATE TABLE deliveries (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    surface TEXT NOT NULL,
    state TEXT NOT NULL,
    at REAL NOT NULL,
    repeat INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    pid INTEGER,
    process_started REAL,
    heartbeat REAL,
    PRIMARY KEY (task_id, surface)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_by_state ON deliveries (state, surface);
CREATE TABLE usage (
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    session_id TEXT NOT NULL,
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost REAL,
    PRIMARY KEY (day, model, session_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_session ON usage (session_id);
CREATE VIEW searchable AS SELECT id, content || char(10, 10) AS content FROM messages WHERE role <> 'system';
CREATE VIRTUAL TABLE messages_index USING fts5 (
    content, content = 'searchable', content_rowid = 'id', tokenize = 'trigram', detail = none, columnsize = 0
);
CREATE TRIGGER messages_indexed AFTER INSERT ON messages WHEN new.role <> 'system' BEGIN
    INSERT INTO messages_index (rowid, content) VALUES (new.id, new.content || char(10, 10));
END;
CREATE TRIGGER messages_unindexed AFTER DELETE ON messages WHEN old.role <> 'system' BEGIN
    INSERT INTO messages_index (messages_index, rowid, content)
    VALUES ('delete', old.id, old.content || char(10, 10));
END;
CREATE VIRTUAL TABLE messages_pieces USING fts5vocab (messages_index, row);
INSERT INTO prompts (at, text) VALUES (1.0, 'older'), (2.0, 'newer');
INSERT INTO sessions (id, source, title, cwd, model, settings, parent, created, updated, messages)
    VALUES ('20260101_120000_aaaaaa', 'terminal', 'hi', '/src', 'm', '{}', '', 1.0, 2.0, 2);
INSERT INTO messages (session_id, number, role, content, tool_calls, tool_call_id, reasoning, at)
    VALUES ('20260101_120000_aaaaaa', 1, 'user', 'hi', '[]', '', '', 1.0),
           ('20260101_120000_aaaaaa', 2, 'assistant', 'hello', '[]', '', '', 2.0);
INSERT INTO sessions (id, source, title, cwd, model, settings, parent, created, updated)
    VALUES ('20260101_120000_bbbbbb', 'task', '', '/src', 'm', '{}', '', 1.0, 2.0);
INSERT INTO tasks (id, prompt, owner, session_id, settings, state, activity, created, started, finished, steps, usage,
    result, error, told, name, options, receipt, attempts, held)
    VALUES ('bg_120000_cccccc', 'count', 'terminal:x', '20260101_120000_bbbbbb', '{}', 'queued', '', 1.0, 0.0, 0.0, 0,
    '{}', '', '', 0, '', '{}', '{}', 0, 0);
CREATE TABLE inbound (
    id INTEGER PRIMARY KEY,
    platform TEXT NOT NULL,
    message_id TEXT NOT NULL,
    chat TEXT NOT NULL,
    payload TEXT NOT NULL,
    at REAL NOT NULL,
    handled INTEGER NOT NULL DEFAULT 0,
    UNIQUE (platform, message_id)
) STRICT;
CREATE INDEX inbound_open ON inbound (id) WHERE NOT handled;
CREATE TABLE outbound (
    id INTEGER PRIMARY KEY,
    place INTEGER NOT NULL UNIQUE,
    chat TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    key TEXT UNIQUE,
    message_id TEXT NOT NULL,
    at REAL NOT NULL,
    due REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    repeat INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    worker TEXT,
    pid INTEGER,
    process_started REAL,
    heartbeat REAL
) STRICT;
CREATE INDEX outbound_open ON outbound (chat, place) WHERE state IN ('pending', 'sending');
CREATE INDEX outbound_by_state ON outbound (state, at);
INSERT INTO inbound (platform, message_id, chat, payload, at) VALUES ('telegram', '7', 'telegram:1', '{}', 1.0);
CREATE TABLE inbox (
    id INTEGER PRIMARY KEY,
    task INTEGER NOT NULL REFERENCES tasks (number) ON DELETE CASCADE,
    text TEXT NOT NULL,
    session_id TEXT NOT NULL DEFAULT '',
    place INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX inbox_by_task ON inbox (task);
CREATE TABLE front_ends (
    owner TEXT PRIMARY KEY,
    worker TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process_started REAL NOT NULL,
    heartbeat REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE people (
    platform TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    code TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (platform, user_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE wrong_codes (
    platform TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO notes VALUES ('home', '1');
CREATE INDEX sessions_to_find ON sessions (updated, id, title, source, archived);
