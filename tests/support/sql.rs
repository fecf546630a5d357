//! What a test says to the database itself.

use sqlx::{AssertSqlSafe, PgPool};

pub(crate) async fn execute(pool: &PgPool, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// An expression or a query of one whole number.
pub(crate) async fn number(pool: &PgPool, sql: &str) -> i64 {
    let found = sqlx::query_scalar(AssertSqlSafe(format!("SELECT ({sql})::int8"))).fetch_one(pool).await;
    found.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The rows of a table, or of what stands in its place.
pub(crate) async fn count(pool: &PgPool, table: &str) -> i64 {
    number(pool, &format!("SELECT count(*) FROM {table}")).await
}

pub(crate) async fn texts(pool: &PgPool, sql: &str) -> Vec<String> {
    let found = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(pool).await;
    found.unwrap_or_else(|error| panic!("{sql}: {error}"))
}
