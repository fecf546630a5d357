//! What follows the options in the long help: titles, and below each its lines. The manual makes
//! sections of them.

pub(super) const ROOT: &str = "\
Examples:
  cue-scheduler
      Run the service with the settings of ~/.config/cue-scheduler/scheduler.yaml.
  cue-scheduler --facility local --alloc_tags myshow:general
      Serve one show on the hosts of one allocation tag.
  cue-scheduler config init
      Write a first settings file, asking for what it needs.
  cue-scheduler check-db
      Say whether the service would run on this database.
  cue-scheduler demo
      See a whole farm at work on this machine.

Exit status:
  0  Done.
  1  Failed, or a check found something.
  2  The flags or settings are wrong, or name what is not there.

Completion:
  completions/ holds a file for each shell. For one session of bash:
      source <(COMPLETE=bash cue-scheduler)
  Shows, clusters, hosts, jobs and tags are completed from the database.";

pub(super) const RUN: &str = "\
Examples:
  cue-scheduler run
      Serve everything that is this scheduler's by the settings.
  cue-scheduler run -v --metrics_port 9191
      Say more, and show metrics and health at port 9191.

Signals:
  SIGTERM, SIGINT    Stop after the launches under way; a second one ends at once.
  SIGHUP             Started from a terminal, as SIGTERM. Else go on in a new log file
                     and read the settings again; invalid ones change nothing.
  SIGUSR1, SIGUSR2   Change between the log levels info and debug.";

pub(super) const CHECK_DB: &str = "\
Examples:
  cue-scheduler check-db
      Look at database, settings and rows.
  cue-scheduler check-db --rqd 10
      Also call the agents of ten hosts.
  cue-scheduler check-db -o json | jq -r '.checks[] | select(.status != \"ok\") | .name'
      The names of what is not good.

Checks:
  connection        A session can be opened.
  tls               It is encrypted, or stays on the machine.
  server            PostgreSQL 13 or later that takes writes.
  latency           Time of an answer; 20 ms are a warning.
  clock             Difference of the clocks; 2 s are a warning.
  schema            Every table and column is there; which Cuebots it fits.
  read-privileges   What `plan` and the other readers read.
  write-privileges  What `run` writes, and triggers write for it.
  triggers          By what they do, whatever they are called.
  indexes           The columns by which rows are looked for.
  connections       Pool size times --instances against what is allowed.
  pooling-proxy     No proxy that hands out connections by the transaction.
  dead-rows         No long transaction or idle replication slot keeps them.
  selection         Facility, shows and tags of the settings lead to clusters.
  subscriptions     None has burst 0 or size 0.
  folders           Each has one row in folder_resource.
  hosts             Their states by allocation.
  stale-hosts       Hosts that say UP and send no report.
  counters          Counters and hosts' idle amounts say what the procs hold.
  waiting-counts    Counters of waiting frames say how many frames wait.
  limits            No layer is bound to a limit that was deleted.
  tags              No layer has tags that only Cuebot's regular expression finds.
  slots             No host or layer uses slots, which are not booked.
  licences          No environment declares CUE_LICENSES.
  chunks            Every number of a range is in a frame.
  silent-procs      Hosts that report name what their procs run.
  frameless-procs   No proc holds anything for minutes without a frame.
  left-out-rows     Every row of hosts, work and caps makes sense.
  owners            Flagged shows are served, and served shows are flagged.
  foreign-planner   Cuebot's own planner is not active.
  agents            With --rqd: agents answer.

Fields of JSON and YAML:
  status   The worst of all: ok, warning or failed.
  checks   Each with name, status, found and remedy (null: nothing to do).
           A check has the status \"not checked\" where its answer would mean
           nothing; found then names the failed check that it depends on.

Exit status:
  0  Nothing failed; there may be warnings.
  1  Something failed, or there is no connection.
  2  The settings are wrong.";

pub(super) const CLUSTERS: &str = "\
Examples:
  cue-scheduler clusters list
      All clusters of the settings, one a line.
  cue-scheduler clusters show local/myshow/general
      Everything about one.";

pub(super) const CLUSTERS_LIST: &str = "\
Examples:
  cue-scheduler clusters list
      All clusters of the settings, one a line.
  cue-scheduler clusters list -o wide
      With ids, and tier, size and burst of the subscriptions.
  cue-scheduler clusters list -o json | jq -r '.[] | select(.hosts_up == 0) | .name'
      Clusters without a host that reports.";

pub(super) const CLUSTERS_SHOW: &str = "\
Examples:
  cue-scheduler clusters show local/myshow/general
      Everything about one cluster.
  cue-scheduler clusters show local/myshow/g
      The beginning of a name, if only one begins so.

Exit status:
  0  Done.
  1  Failed.
  2  No cluster is named so, or several are; or the settings are wrong.";

pub(super) const EXCLUSION_LIST: &str = "\
Examples:
  cue-scheduler exclusion-list
      Print the property, or the commands that set the flag.
  cue-scheduler exclusion-list --check /opt/cuebot/opencue.properties
      Say what would be booked by both or by nobody.
  cue-scheduler exclusion-list --check opencue.properties --options /etc/sysconfig/cuebot
      The same with the variables and the command line of Cuebot, which win over the file.
  cue-scheduler exclusion-list --check --property dispatcher.exclusion_list=show:local.general
      The same with what stands on the command line, and no file.
  cue-scheduler exclusion-list --update /opt/cuebot/opencue.properties
      Show the difference, ask, and change the property.
  cue-scheduler exclusion-list --full-migration
      Print the property that ends Cuebot's booking, if nothing is left to nobody.

Exit status:
  0  Done; with --check, each piece of work has one booker.
  1  Failed, refused, not changed, or --check found harm.
  2  Wrong usage or settings.";

pub(super) const CONFIG: &str = "\
Examples:
  cue-scheduler config init
      Write a first file, asking for what it needs.
  cue-scheduler config check
      Say what is wrong with the settings.
  cue-scheduler config show
      Show what is in effect.";

pub(super) const CONFIG_CHECK: &str = "\
Examples:
  cue-scheduler config check
      The settings as `run` finds them.
  cue-scheduler --config new.yaml config check
      A file before it is put in its place.

Exit status:
  0  They are right.
  2  They are not.";

pub(super) const CONFIG_SHOW: &str = "\
Examples:
  cue-scheduler config show
      Every key, its value and where it came from.
  cue-scheduler config show -o wide
      And the variable that would set it.
  cue-scheduler config show -o json | jq '.settings[] | select(.origin != \"default\")'
      What somebody has set.

Fields of JSON and YAML:
  file      The file that was read, or null.
  settings  Each with key, value, origin (default, \"line N\" of the file, or the name of a
            variable or flag) and variable, which would set it.";

pub(super) const CONFIG_INIT: &str = "\
Examples:
  cue-scheduler config init
      Ask, and write ~/.config/cue-scheduler/scheduler.yaml.
  cue-scheduler config init --yes --db-host cuedb --db-pass-file /etc/cue/password s.yaml
      Ask nothing, try the connection, and write s.yaml.
  cue-scheduler config init --yes --offline --alloc_tags myshow:general s.yaml
      For a database that cannot be reached from here.

Exit status:
  0  Written.
  1  There is no connection, or the answer was no; nothing is written.
  2  The flags are wrong, there is no terminal to ask, or the file exists.";

pub(super) const PLAN: &str = "\
Examples:
  cue-scheduler plan
      What the next pass would do, and why the rest waits.
  cue-scheduler plan --show myshow --summary
      Totals of one show.
  cue-scheduler plan --out plan.json
      Keep the plan.
  cue-scheduler plan --from plan.json
      Show it again, and what the farm has overtaken of it.
  cue-scheduler plan -o json | jq '.reasons[] | select(.reason == \"capacity\")'
      What waits for room.

Beside that a running service may hold back layers and hosts for a while after
failures; the metric scheduler_held_back on its page names them.

Exit status:
  0  Done.
  1  Failed.
  2  The flags or settings are wrong, or nothing has a name that they give; the nearest names are told.

Exit status with --detailed-exitcode:
  0  Nothing waits.
  1  Failed.
  2  Something would be placed; also for flags that are wrong.
  3  Work waits and nothing can be placed.

The plan as JSON:
  format, version    Always \"cue-scheduler plan\" and 1.
  taken_at           When the farm was read, by the database's clock.
  totals             Frames, layers, jobs, hosts and amounts that would be placed; waiting_frames and
                     waiting_layers.
  clusters           The same for each cluster.
  placements         show, job, layer, host and cluster with ids; cores, memory_kib, gpus and
                     gpu_memory_kib of one frame; frames with id, name, number and version;
                     overtaken, after --from, with cause and detail.
  waiting            Layers with frames left, their clusters and the reason.
  reasons            Layers and frames for each reason.
  wrong_counts       Layers whose counter promises frames that are not there, with count and frames;
                     absent where none does.";

pub(super) const DRY_RUN: &str = "\
Examples:
  cue-scheduler dry-run
      Until nothing more would be booked.
  cue-scheduler dry-run --for 10m
      Follow the live farm for ten minutes.
  cue-scheduler dry-run --verify --cycles 1
      Ask the database too what it would refuse.

Exit status:
  0  Done, or ended by Ctrl-C.
  1  It failed, or with --verify the database refuses to write some frames.
  2  The flags or settings are wrong.";

pub(super) const DEMO: &str = "\
Examples:
  cue-scheduler demo
      1,200 simulated hosts work through 6,000 frames.
  cue-scheduler demo --hosts 50 --frames 500 --seed 7 --keep
      A small farm, the same every time, kept up to look at.
  cue-scheduler demo --refuse 5% --lose-answers 2% --kill-hosts 1%
      With hosts that misbehave.";

pub(super) const EXPLAIN: &str = "\
Examples:
  cue-scheduler explain job myshow-sh010-artist_comp
      Each layer that waits, and why.
  cue-scheduler explain host r0123
      What it could take, and what keeps it from more.

Beside that a running service may hold back layers and hosts for a while after
failures; the metric scheduler_held_back on its page names them.

Exit status:
  0  Done.
  1  Failed.
  2  The flags or settings are wrong, or nothing has the name; the nearest names are told.";

pub(super) const EXPLAIN_JOB: &str = "\
Examples:
  cue-scheduler explain job myshow-sh010-artist_comp
      Each layer that waits, and why.
  cue-scheduler explain job myshow-sh010 -o json
      The same for a program; the beginning of the name will do.";

pub(super) const EXPLAIN_LAYER: &str = "\
Examples:
  cue-scheduler explain layer myshow-sh010-artist_comp/render
      Each gate with the hosts that it takes away, the caps and the nearest host.";

pub(super) const EXPLAIN_FRAME: &str = "\
Examples:
  cue-scheduler explain frame myshow-sh010-artist_comp/0001-render
      Where it runs and when it was last heard of, or why not.";

pub(super) const EXPLAIN_HOST: &str = "\
Examples:
  cue-scheduler explain host r0123
      What it has, got and could take, and what of it nobody's work holds.";
