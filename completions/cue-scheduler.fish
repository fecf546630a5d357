complete --keep-order --exclusive --command cue-scheduler --arguments "(COMPLETE=fish cue-scheduler -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
