//! Whether anything was written.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgPool};

/// Every table's rows as one hash, by the table's name. A row's place and last transaction are part of
/// it, so that a write shows even where it left the values as they were.
pub(crate) async fn fingerprint(pool: &PgPool) -> BTreeMap<String, String> {
    let tables = "SELECT relname::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(pool).await.unwrap();
    assert!(!tables.is_empty(), "there are tables");
    let hash = |table: &String| {
        format!(
            "SELECT '{table}'::text, md5(COALESCE(string_agg(one.line, chr(10) ORDER BY one.line), ''))
               FROM (SELECT concat_ws('|', row.ctid, row.xmin, row::text) AS line FROM public.\"{table}\" AS row) AS one"
        )
    };
    let hashes = tables.iter().map(hash).collect::<Vec<_>>().join(" UNION ALL ");
    let rows: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(hashes)).fetch_all(pool).await.unwrap();
    rows.into_iter().collect()
}
