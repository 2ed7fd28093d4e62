//! The database's own catalogue: tenancy, append-only tables, personal data.

use std::collections::BTreeSet;

use anyhow::Result;
use sqlx::PgPool;

use crate::support::app::App;
use crate::support::database::Database;

/// One copy for all accounts; on Citus on every node, so that tenant tables may refer to them.
const REFERENCE: [&str; 5] = ["app_user", "catalogue", "permission", "price", "product"];

/// On one node: what happens before anybody is signed in, and work, which one relay reads across accounts.
const NOT_DISTRIBUTED: [&str; 9] = [
    "email_change",
    "outbox",
    "password_reset",
    "rate_counter",
    "relay",
    "service_token",
    "sign_up",
    "sweep_tick",
    "user_credential",
];

/// Everything else, by `account_id`.
const BY_ACCOUNT: [&str; 44] = [
    "account",
    "account_billing",
    "account_feed",
    "account_owner",
    "billing_credit",
    "billing_period",
    "billing_period_product",
    "charge_attempt",
    "event",
    "event_personal",
    "event_seal",
    "export",
    "export_member",
    "group_member",
    "idempotency_key",
    "invitation",
    "ledger_entry",
    "license_allocation",
    "license_change",
    "license_named",
    "license_pool",
    "license_quote",
    "license_trial",
    "license_wish",
    "member",
    "member_activity",
    "member_group",
    "member_import",
    "member_import_row",
    "member_role",
    "member_unit",
    "resource",
    "resource_group",
    "resource_member",
    "resource_rate",
    "role",
    "role_permission",
    "session",
    "session_activity",
    "sso_exception",
    "statement",
    "statement_line",
    "unit",
    "upload",
];

/// sqlx's own.
const MIGRATIONS: &str = "_sqlx_migrations";

/// Rows of one text each.
async fn texts(pool: &PgPool, statement: &'static str) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(statement).fetch_all(pool).await?)
}

/// The rows of a statement that takes the names of tables; there should be none.
async fn none(what: &str, tables: &[&str], statement: &'static str) -> Result<()> {
    let database = Database::new().await;
    let names: Vec<String> = tables.iter().map(|name| (*name).to_owned()).collect();
    let faults: Vec<String> = sqlx::query_scalar(statement).bind(&names).fetch_all(&database.db.pool).await?;
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
    Ok(())
}

#[tokio::test]
async fn every_table_is_of_a_class() -> Result<()> {
    let database = Database::new().await;
    let tables = texts(&database.db.pool, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").await?;
    let found: BTreeSet<&str> = tables.iter().map(String::as_str).filter(|name| *name != MIGRATIONS).collect();
    let known: BTreeSet<&str> = REFERENCE.into_iter().chain(NOT_DISTRIBUTED).chain(BY_ACCOUNT).collect();
    assert_eq!(found, known, "a table is new, gone, or of no class");
    Ok(())
}

#[tokio::test]
async fn keys_of_tenant_tables_start_with_the_account() -> Result<()> {
    let statement =
        "SELECT c.relname || ': ' || i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
         WHERE c.relname = ANY($1) AND c.relnamespace = 'public'::regnamespace AND i.indisunique
           AND a.attname IS DISTINCT FROM 'account_id'
         UNION ALL SELECT name || ': no primary key' FROM unnest($1::text[]) name WHERE NOT EXISTS
             (SELECT FROM pg_index i WHERE i.indrelid = name::regclass AND i.indisprimary)";
    none("a unique key does not start with account_id", &BY_ACCOUNT, statement).await
}

#[tokio::test]
async fn references_between_tenant_tables_start_with_the_account() -> Result<()> {
    let statement = "SELECT c.conrelid::regclass || ': ' || pg_get_constraintdef(c.oid) FROM pg_constraint c
         JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
         JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]
         WHERE c.contype = 'f' AND c.conrelid::regclass::text = ANY($1)
           AND c.confrelid::regclass::text NOT IN ('app_user', 'permission', 'product')
           AND NOT (a.attname = 'account_id' AND b.attname = 'account_id')";
    none("a foreign key does not start with account_id", &BY_ACCOUNT, statement).await
}

/// So that the others can be moved to another node without the accounts.
#[tokio::test]
async fn other_tables_refer_to_reference_tables_only() -> Result<()> {
    let statement = "SELECT c.conrelid::regclass || ': ' || pg_get_constraintdef(c.oid) FROM pg_constraint c
         WHERE c.contype = 'f' AND c.conrelid::regclass::text <> ALL($1)
           AND c.confrelid::regclass::text NOT IN ('app_user', 'permission', 'product')";
    none("a foreign key leads into an account", &BY_ACCOUNT, statement).await
}

#[tokio::test]
async fn tenant_tables_have_no_triggers_and_nothing_is_set_to_null_behind_ones_back() -> Result<()> {
    let statement = "SELECT tgrelid::regclass || ': trigger ' || tgname FROM pg_trigger
         WHERE NOT tgisinternal AND tgrelid::regclass::text = ANY($1)
         UNION ALL
         SELECT conrelid::regclass || ': ' || pg_get_constraintdef(oid) FROM pg_constraint
         WHERE contype = 'f' AND (confdeltype IN ('n', 'd') OR confupdtype IN ('n', 'd', 'c')) AND conrelid::regclass::text = ANY($1)";
    none("triggers and actions", &BY_ACCOUNT, statement).await
}

#[tokio::test]
async fn every_column_that_can_hold_personal_data_says_whether_it_does() -> Result<()> {
    let statement = "SELECT c.relname || '.' || a.attname || ': ' || coalesce(col_description(c.oid, a.attnum), 'no comment')
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
           AND c.relname <> ALL($1)
           AND a.atttypid IN ('text'::regtype, 'varchar'::regtype, 'text[]'::regtype, 'json'::regtype, 'jsonb'::regtype,
                              'inet'::regtype, 'cidr'::regtype, 'bytea'::regtype)
           AND coalesce(col_description(c.oid, a.attnum), '') !~ '^(personal: .|not personal)'";
    none("columns without a word on personal data", &[MIGRATIONS], statement).await
}

#[tokio::test]
async fn history_cannot_be_rewritten_by_the_running_service() -> Result<()> {
    let statement = "SELECT name || ': ' || privilege FROM unnest($1::text[]) name, unnest('{UPDATE,DELETE,TRUNCATE}'::text[]) privilege
         WHERE has_table_privilege('muster_runtime', name, privilege)
         UNION ALL SELECT c.relname || '.' || a.attname || ': UPDATE' FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relname = ANY($1) AND a.attnum > 0 AND has_column_privilege('muster_runtime', c.oid, a.attnum, 'UPDATE')";
    none("muster_runtime may rewrite", &["event", "event_seal"], statement).await?;
    let statement = "SELECT relname::text FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> ALL($1)
           AND (has_table_privilege('muster_runtime', oid, 'TRUNCATE') OR relowner = 'muster_runtime'::regrole)";
    none("muster_runtime owns or may empty", &[MIGRATIONS], statement).await
}

#[tokio::test]
async fn api_and_worker_act_as_the_restricted_role() -> Result<()> {
    let app = App::start().await?;
    app.found("olivia@harborandfinch.example", 3).await?;
    for statement in ["UPDATE event SET kind = kind", "DELETE FROM event", "DELETE FROM event_seal", "TRUNCATE event"] {
        let refused = sqlx::query(statement).execute(&app.db.pool).await.unwrap_err();
        let code =
            refused.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned();
        assert_eq!(code, "42501", "{statement}: {refused}");
    }
    // Every connection, not only the one that happened to be taken.
    let mut held = Vec::new();
    for _ in 0..app.db.pool.options().get_max_connections() {
        let mut conn = app.db.pool.acquire().await?;
        let role: String = sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut *conn).await?;
        assert_eq!(role, "muster_runtime");
        held.push(conn);
    }
    drop(held);
    app.finish().await
}
