_clap_complete_cue_scheduler() {
    local IFS=$'\013'
    local _CLAP_COMPLETE_INDEX=${COMP_CWORD}
    local _CLAP_COMPLETE_COMP_TYPE=${COMP_TYPE}
    if compopt +o nospace 2> /dev/null; then
        local _CLAP_COMPLETE_SPACE=false
    else
        local _CLAP_COMPLETE_SPACE=true
    fi
    local words=("${COMP_WORDS[@]}")
    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
        words[COMP_CWORD]="$2"
    fi
    COMPREPLY=( $( \
        _CLAP_IFS="$IFS" \
        _CLAP_COMPLETE_INDEX="$_CLAP_COMPLETE_INDEX" \
        _CLAP_COMPLETE_COMP_TYPE="$_CLAP_COMPLETE_COMP_TYPE" \
        _CLAP_COMPLETE_SPACE="$_CLAP_COMPLETE_SPACE" \
        COMPLETE="bash" \
        "cue-scheduler" -- "${words[@]}" \
    ) )
    if [[ $? != 0 ]]; then
        unset COMPREPLY
    elif [[ $_CLAP_COMPLETE_SPACE == false ]] && [[ "${COMPREPLY-}" =~ [=/:]$ ]]; then
        compopt -o nospace
    fi
}
if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _complete_cue_scheduler cue-scheduler
else
    complete -o nospace -o bashdefault -F _complete_cue_scheduler cue-scheduler
fi
_complete_cue_scheduler() {
    local line="${COMP_LINE:0:COMP_POINT}" words=() word typed at
    for ((at = 0; at <= COMP_CWORD; at++)); do
        word="${COMP_WORDS[at]}" typed="${COMP_WORDS[at]}"
        # Of the word at the cursor what is typed; directly behind a sign bash takes the sign for it.
        if [[ $at -eq $COMP_CWORD && ( -n "$2" || "$word" != [:=]* ) ]]; then
            typed="$2"
        fi
        if [[ $at -eq 0 || "$line" == [[:blank:]]* ]]; then
            line="${line#"${line%%[![:blank:]]*}"}"
            words+=("$typed")
        else
            words[${#words[@]}-1]+="$typed"
        fi
        line="${line#"$word"}"
    done
    local COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1))
    typed="${COMP_WORDS[COMP_CWORD]}"
    _clap_complete_cue_scheduler "$1" "$typed" "$3"
    COMPREPLY=("${COMPREPLY[@]#"${typed%"$2"}"}")
}
