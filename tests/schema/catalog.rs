//! Columns and indexes of every generation, from the catalog of a database that was made with it.

use std::collections::BTreeSet;

use cue_scheduler::db::needs;
use cue_scheduler::farm::schema::Generation;
use sqlx::PgConnection;

use super::connect;

/// `table,ordinal,column,type,length_or_precision,nullable,default,key` of August 2026.
const COLUMNS: &str = include_str!("../data/schema-columns.csv");
/// `index,table,columns,unique,predicate,method` of August 2026.
const INDEXES: &str = include_str!("../data/schema-indexes.csv");

/// What the database of December 2025 lacks.
const NOT_YET_IN_G0: &[&str] = &[
    "show.b_scheduler_managed",
    "layer.ts_start_after",
    "layer.str_start_after_reason",
    "frame.ts_eligible",
    "layer.ts_eligible",
    "job.ts_eligible",
    "layer_stat.ts_started",
    "layer_stat.ts_stopped",
    "frame.int_pss_used",
    "frame.int_pss_max_used",
    "proc.int_pss_used",
    "proc.int_pss_max_used",
    "job_mem.int_max_pss",
    "layer_mem.int_max_pss",
    "job_resource.int_max_pss",
    "layer_resource.int_max_pss",
];
const INDEXES_NOT_YET_IN_G0: &[&str] = &[
    "i_max_pss_layer",
    "i_max_pss_job",
    "i_job_active_pkjob",
    "i_depend_active_er_job_frame",
    "i_depend_active_er_job_layer",
    "i_depend_active_er_job_only",
    "i_frame_depend_candidates",
    "idx_layer_tags_array",
    "idx_job_pending_lookup",
    "idx_layer_stat_waiting",
    "i_layer_start_after",
];

#[tokio::test]
async fn columns_of_august_2026_are_cuebots() {
    let mut connection = connect(Generation::G3).await;
    assert_same(&listed_columns(), &columns(&mut connection).await);
}

#[tokio::test]
async fn indexes_of_august_2026_are_cuebots() {
    let mut connection = connect(Generation::G3).await;
    assert_same(&listed_indexes(), &indexes(&mut connection).await);
}

#[tokio::test]
async fn the_first_generation_lacks_exactly_what_came_later() {
    let mut connection = connect(Generation::G0).await;
    let columns_then =
        listed_columns().into_iter().filter(|column| !NOT_YET_IN_G0.contains(&first_word(column))).collect();
    assert_same(&columns_then, &columns(&mut connection).await);
    let indexes_then =
        listed_indexes().into_iter().filter(|index| !INDEXES_NOT_YET_IN_G0.contains(&first_word(index))).collect();
    assert_same(&indexes_then, &indexes(&mut connection).await);
}

#[tokio::test]
async fn every_generation_adds_what_its_migrations_add() {
    #[rustfmt::skip]
    let steps: [(Generation, &[&str], &[&str]); 5] = [
        (Generation::G1, &[
            "frame.int_pss_max_used int8 64 YES 0", "frame.int_pss_used int8 64 YES 0",
            "frame.ts_eligible timestamptz 6 YES NULL", "job.ts_eligible timestamptz 6 NO CURRENT_TIMESTAMP",
            "job_mem.int_max_pss int8 64 YES 0", "job_resource.int_max_pss int8 64 YES 0",
            "layer.ts_eligible timestamptz 6 NO CURRENT_TIMESTAMP", "layer_mem.int_max_pss int8 64 YES 0",
            "layer_resource.int_max_pss int8 64 YES 0", "layer_stat.ts_started timestamptz 6 YES",
            "layer_stat.ts_stopped timestamptz 6 YES", "proc.int_pss_max_used int8 64 YES 0",
            "proc.int_pss_used int8 64 YES 0",
        ], &[
            "i_depend_active_er_job_frame", "i_depend_active_er_job_layer", "i_depend_active_er_job_only",
            "i_frame_depend_candidates", "i_job_active_pkjob", "i_max_pss_job", "i_max_pss_layer",
        ]),
        (Generation::G2, &[
            "show.b_scheduler_managed bool NO false",
        ], &[
            "idx_job_pending_lookup", "idx_layer_stat_waiting", "idx_layer_tags_array",
        ]),
        (Generation::G3, &[
            "layer.str_start_after_reason varchar 255 YES NULL", "layer.ts_start_after timestamptz 6 YES NULL",
        ], &[
            "i_layer_start_after",
        ]),
        (Generation::G4, &[
            "layer_limit.pk_layer varchar 36 NO UNIQUE c_layer_limit_uk(pk_layer+pk_limit_record)",
            "layer_limit.pk_layer_limit varchar 36 NO PK",
            "layer_limit.pk_limit_record varchar 36 NO UNIQUE c_layer_limit_uk(pk_layer+pk_limit_record)",
            "layer_limit.str_source varchar 16 NO 'SPEC'", "layer_limit.ts_created timestamptz 6 NO CURRENT_TIMESTAMP",
            "limit_host.int_tokens int4 32 NO 1", "limit_host.pk_limit_host varchar 36 NO PK",
            "limit_host.pk_limit_record varchar 36 NO FK->limit_record.pk_limit_record ON DELETE CASCADE; \
             UNIQUE c_limit_host_uk(pk_limit_record+str_host_name)",
            "limit_host.str_host_name varchar 256 NO UNIQUE c_limit_host_uk(pk_limit_record+str_host_name)",
            "limit_host.str_reported_name varchar 256 NO", "limit_host.str_user varchar 64 YES",
            "limit_host.ts_reported timestamptz 6 NO CURRENT_TIMESTAMP",
            "limit_record.b_auto_tag bool NO true", "limit_record.int_delay_minutes int4 32 NO 0",
            "limit_record.int_exit_status int4 32 YES UNIQUE i_limit_record_int_exit_status(int_exit_status)",
            "limit_record.int_report_ttl int4 32 NO 900", "limit_record.int_soft_value int4 32 NO -1",
            "limit_record.pk_limit_record varchar 36 NO PK", "limit_record.str_enforcement varchar 16 NO 'ENFORCED'",
            "limit_record.str_name varchar 255 NO UNIQUE c_limit_record_str_name_uk(str_name)",
            "limit_record.str_report_source varchar 255 YES", "limit_record.str_type varchar 16 NO 'FRAME'",
            "limit_record.ts_reported timestamptz 6 YES", "limit_usage.int_settled_hosts int4 32 NO 0",
            "limit_usage.int_settled_usage int4 32 NO 0",
            "limit_usage.pk_limit_record varchar 36 NO PK; FK->limit_record.pk_limit_record ON DELETE CASCADE",
            "limit_usage.ts_updated timestamptz 6 NO CURRENT_TIMESTAMP", "limit_usage.ts_watermark timestamptz 6 YES",
        ], &[
            "c_layer_limit_pk", "c_layer_limit_uk", "c_limit_host_pk", "c_limit_host_uk", "c_limit_record_pk",
            "c_limit_record_str_name_uk", "c_limit_usage_pk", "i_layer_limit_record_source",
            "i_limit_host_str_host_name", "i_limit_record_int_exit_status", "i_proc_ts_dispatched",
        ]),
        (Generation::G5, &[
            "frame_history_queue.id int8 64 NO nextval('frame_history_queue_id_seq'::regclass) PK",
            "frame_history_queue.int_checkpoint_count int4 32 YES", "frame_history_queue.int_cores int4 32 YES",
            "frame_history_queue.int_exit_status int8 64 YES", "frame_history_queue.int_gpu_mem_max_used int8 64 YES",
            "frame_history_queue.int_gpu_mem_reserved int8 64 YES", "frame_history_queue.int_gpus int4 32 YES",
            "frame_history_queue.int_mem_max_used int8 64 YES", "frame_history_queue.int_mem_reserved int8 64 YES",
            "frame_history_queue.int_ts int4 32 NO", "frame_history_queue.pk_alloc varchar 36 YES",
            "frame_history_queue.pk_frame varchar 36 NO", "frame_history_queue.pk_job varchar 36 YES",
            "frame_history_queue.pk_layer varchar 36 YES", "frame_history_queue.str_event varchar 1 NO",
            "frame_history_queue.str_host varchar 256 YES", "frame_history_queue.str_name varchar 256 YES",
        ], &[
            "c_frame_history_queue_pk", "i_frame_layer_dispatch_waiting",
        ]),
    ];
    let mut earlier = connect(Generation::G0).await;
    let mut columns_before = columns(&mut earlier).await;
    let mut indexes_before = indexes(&mut earlier).await;
    for (generation, new_columns, new_indexes) in steps {
        let mut connection = connect(generation).await;
        let (columns, indexes) = (columns(&mut connection).await, indexes(&mut connection).await);
        let expected = new_columns.iter().map(|&column| column.to_owned()).collect();
        assert_same(&expected, &columns.difference(&columns_before).cloned().collect());
        let added: Vec<&str> = indexes.difference(&indexes_before).map(|index| first_word(index)).collect();
        assert_eq!(added, new_indexes, "{generation}");
        // Nothing goes away but what a key was put on.
        let lost = columns_before.difference(&columns).all(|column| columns.iter().any(|now| now.starts_with(column)));
        assert!(lost && indexes_before.is_subset(&indexes), "{generation} lost something");
        (columns_before, indexes_before) = (columns, indexes);
    }
}

/// Columns of schemas to come.
const TO_COME: [&str; 3] = ["int_stuck_detection_llu", "int_concurrent_slots_limit", "int_slots_required"];

/// A name that is none of the schema's would be asked for by nobody and lacked by nobody.
#[tokio::test]
async fn the_list_of_what_is_needed_names_tables_and_columns_of_cuebot() {
    let mut connection = connect(Generation::G5).await;
    let found = columns(&mut connection).await;
    let known: BTreeSet<&str> = found.iter().map(|column| first_word(column)).collect();
    for need in needs() {
        let table = format!("{}.", need.table);
        assert!(known.iter().any(|column| column.starts_with(&table)), "{need:?}");
        for column in need.columns().filter(|column| !column.is_empty() && !TO_COME.contains(column)) {
            assert!(known.contains(&*format!("{table}{column}")), "{column} of {need:?}");
        }
    }
}

fn assert_same(expected: &BTreeSet<String>, found: &BTreeSet<String>) {
    let missing: Vec<_> = expected.difference(found).map(|line| format!("  missing: {line}")).collect();
    let strange: Vec<_> = found.difference(expected).map(|line| format!("  strange: {line}")).collect();
    assert!(missing.is_empty() && strange.is_empty(), "\n{}", [missing, strange].concat().join("\n"));
}

fn first_word(line: &str) -> &str {
    line.split(' ').next().unwrap()
}

fn line<const N: usize>(words: [String; N]) -> String {
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn listed_columns() -> BTreeSet<String> {
    records(COLUMNS)
        .map(|[table, _, column, kind, length, nullable, default, key]| {
            line([format!("{table}.{column}"), kind, length, nullable, default, key])
        })
        .collect()
}

fn listed_indexes() -> BTreeSet<String> {
    records(INDEXES)
        .map(|[index, table, columns, unique, predicate, method]| {
            line([index, table, without_expressions(&columns), unique, predicate, method])
        })
        .collect()
}

/// The list describes expressions in words, so only their number is compared.
fn without_expressions(columns: &str) -> String {
    if columns.starts_with("expr(") {
        vec!["expr"; columns.matches("expr(").count()].join("+")
    } else {
        columns.to_owned()
    }
}

/// The lines after the headings. A field with a comma is in double quotes.
fn records<const N: usize>(text: &str) -> impl Iterator<Item = [String; N]> {
    text.lines().skip(1).map(|line| {
        let mut fields = vec![String::new()];
        let mut is_quoted = false;
        for letter in line.chars() {
            match letter {
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => fields.push(String::new()),
                _ => fields.last_mut().unwrap().push(letter),
            }
        }
        fields.try_into().unwrap_or_else(|fields| panic!("{line} has other fields: {fields:?}"))
    })
}

async fn columns(connection: &mut PgConnection) -> BTreeSet<String> {
    let rows: Vec<(String, String, String, String, String, String, String)> = sqlx::query_as(
        "SELECT c.table_name::text, c.column_name::text, c.udt_name::text,
                coalesce(c.character_maximum_length::text,
                         CASE WHEN c.udt_name = 'numeric' THEN c.numeric_precision || ',' || c.numeric_scale
                              WHEN c.udt_name <> 'date' THEN coalesce(c.numeric_precision, c.datetime_precision)::text
                         END, ''),
                c.is_nullable::text, coalesce(c.column_default, ''),
                coalesce((SELECT string_agg(word, '; ' ORDER BY place, word) FROM (
                    SELECT CASE contype WHEN 'p' THEN 1 ELSE 2 END AS place,
                           CASE contype WHEN 'p' THEN 'PK'
                                ELSE 'FK->' || confrelid::regclass || '.' || other.attname
                                     || CASE confdeltype WHEN 'c' THEN ' ON DELETE CASCADE' ELSE '' END END AS word
                      FROM pg_constraint
                      LEFT JOIN pg_attribute AS other ON other.attrelid = confrelid AND other.attnum = confkey[1]
                     WHERE conrelid = a.attrelid AND contype IN ('p', 'f') AND a.attnum = ANY (conkey)
                    UNION ALL
                    SELECT 3, 'UNIQUE ' || indexrelid::regclass || '(' || (
                               SELECT string_agg(pg_get_indexdef(indexrelid, n, true), '+' ORDER BY n)
                                 FROM generate_series(1, indnkeyatts) AS n) || ')'
                      FROM pg_index
                     WHERE indrelid = a.attrelid AND indisunique AND NOT indisprimary
                       AND a.attnum = ANY (indkey::int2[])) AS keys), '')
           FROM information_schema.columns AS c
           JOIN pg_tables AS t ON t.schemaname = c.table_schema AND t.tablename = c.table_name
           JOIN pg_attribute AS a ON a.attrelid = c.table_name::regclass AND a.attname = c.column_name
          WHERE c.table_schema = 'public'",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(table, column, kind, length, nullable, default, key)| {
            line([format!("{table}.{column}"), kind, length, nullable, without_cast(&default), key])
        })
        .collect()
}

/// `'a'::character varying` is `'a'`, `'-1'::integer` is `-1`.
fn without_cast(default: &str) -> String {
    let is_literal = default.starts_with('\'') || default.starts_with("NULL");
    let literal = if is_literal { default.split("::").next().unwrap() } else { default };
    let bare = literal.trim_matches('\'');
    if bare.parse::<f64>().is_ok() { bare.to_owned() } else { literal.to_owned() }
}

async fn indexes(connection: &mut PgConnection) -> BTreeSet<String> {
    let rows: Vec<(String, String, String, String, String, String)> = sqlx::query_as(
        "SELECT indexrelid::regclass::text, indrelid::regclass::text,
                (SELECT string_agg(CASE (indkey::int2[])[n - 1] WHEN 0 THEN 'expr'
                                        ELSE pg_get_indexdef(indexrelid, n, true) END, '+' ORDER BY n)
                   FROM generate_series(1, indnkeyatts) AS n),
                CASE WHEN indisprimary THEN 'PRIMARY' WHEN indisunique THEN 'YES' ELSE 'NO' END,
                coalesce(pg_get_expr(indpred, indrelid), ''), amname::text
           FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
          WHERE relnamespace = 'public'::regnamespace",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(index, table, columns, unique, predicate, method)| {
            let predicate = predicate.replace(['(', ')'], "").replace("::text", "");
            line([index, table, columns, unique, predicate, method])
        })
        .collect()
}
