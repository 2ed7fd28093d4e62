//! What the database itself enforces is still enforced: keys, grants, and the word on personal data.

use super::check::checks;

checks! { of_installation
    Broken "schema.valid" "every key and constraint covers all rows"
    r#"SELECT NULL::uuid, jsonb_build_object('table', conrelid::regclass::text, 'constraint', conname) FROM pg_constraint
       WHERE connamespace = 'public'::regnamespace AND NOT convalidated
       UNION ALL
       SELECT NULL, jsonb_build_object('table', indrelid::regclass::text, 'index', indexrelid::regclass::text) FROM pg_index
       JOIN pg_class c ON c.oid = indrelid WHERE c.relnamespace = 'public'::regnamespace AND indislive
         -- One that is being built is not used yet, and not relied on.
         AND NOT indisvalid AND indisunique AND indisready"#

    Broken "tenancy.keys" "unique keys and references between tables of accounts start with the account"
    r#"WITH tenant AS (
           SELECT c.oid, c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'account_id' AND a.attnotnull
           WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
             -- What is not distributed.
             AND c.relname NOT IN ('outbox', 'email_change'))
       SELECT NULL::uuid, jsonb_build_object('table', t.relname, 'index', i.indexrelid::regclass::text)
       FROM tenant t JOIN pg_index i ON i.indrelid = t.oid
       LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
       WHERE i.indisunique AND a.attname IS DISTINCT FROM 'account_id'
       UNION ALL
       SELECT NULL, jsonb_build_object('table', t.relname, 'constraint', c.conname)
       FROM pg_constraint c JOIN tenant t ON t.oid = c.conrelid JOIN tenant f ON f.oid = c.confrelid
       JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
       JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]
       WHERE c.contype = 'f' AND NOT (a.attname = 'account_id' AND b.attname = 'account_id')"#

    Broken "grants.history" "the running service may not change or delete recorded events and their seals"
    r#"SELECT NULL::uuid, jsonb_build_object('table', t.name, 'privilege', p.privilege)
       FROM unnest('{event,event_seal}'::text[]) t(name), unnest('{UPDATE,DELETE,TRUNCATE}'::text[]) p(privilege)
       WHERE has_table_privilege('muster_runtime', t.name, p.privilege)
       UNION ALL
       SELECT NULL, jsonb_build_object('table', c.relname, 'column', a.attname, 'privilege', 'UPDATE')
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
       WHERE c.relnamespace = 'public'::regnamespace AND c.relname IN ('event', 'event_seal') AND a.attnum > 0 AND NOT a.attisdropped
         AND NOT has_table_privilege('muster_runtime', c.oid, 'UPDATE') AND has_column_privilege('muster_runtime', c.oid, a.attnum, 'UPDATE')"#

    Broken "grants.owner" "the running service owns no table, may empty none, and is no superuser"
    r#"SELECT NULL::uuid, jsonb_build_object('table', relname) FROM pg_class
       WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname NOT IN ('event', 'event_seal', '_sqlx_migrations')
         AND (has_table_privilege('muster_runtime', oid, 'TRUNCATE') OR relowner = 'muster_runtime'::regrole)
       UNION ALL
       SELECT NULL, jsonb_build_object('role', rolname) FROM pg_roles
       WHERE rolname = 'muster_runtime' AND (rolsuper OR rolcreaterole OR rolbypassrls OR rolcanlogin)"#

    Broken "grants.catalogue" "the running service may not write the catalogues of permissions and products"
    r#"SELECT NULL::uuid, jsonb_build_object('table', t.name, 'privilege', p.privilege)
       FROM unnest('{permission,product}'::text[]) t(name), unnest('{INSERT,UPDATE,DELETE}'::text[]) p(privilege)
       WHERE has_table_privilege('muster_runtime', t.name, p.privilege)"#

    Broken "schema.personal" "every column that can hold personal data says whether it does, and how it is erased"
    r#"SELECT NULL::uuid, jsonb_build_object('table', c.relname, 'column', a.attname)
       FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
       WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
         AND c.relname <> '_sqlx_migrations'
         AND a.atttypid IN ('text'::regtype, 'varchar'::regtype, 'text[]'::regtype, 'json'::regtype, 'jsonb'::regtype,
                            'inet'::regtype, 'cidr'::regtype, 'bytea'::regtype)
         AND coalesce(col_description(c.oid, a.attnum), '') !~ '^(personal: .|not personal)'"#
}
