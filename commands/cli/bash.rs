//! Completion in bash, which parts words at `:` and `=` and wants what is offered to begin behind the last
//! of these signs.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use clap_complete::env::{Bash as Plain, Elvish, EnvCompleter, Fish, Powershell, Shells, Zsh};

/// All shells that can be served.
pub(crate) const SHELLS: Shells<'static> = Shells(&[&Bash, &Elvish, &Fish, &Powershell, &Zsh]);

struct Bash;

/// Puts together what bash parted before it asks, and takes from the answers what bash has already.
const AT_SIGNS: &str = r#"
_complete_NAME() {
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
    _clap_complete_NAME "$1" "$typed" "$3"
    COMPREPLY=("${COMPREPLY[@]#"${typed%"$2"}"}")
}
"#;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        Plain.name()
    }

    fn is(&self, name: &str) -> bool {
        Plain.is(name)
    }

    fn write_registration(
        &self,
        variable: &str,
        name: &str,
        program: &str,
        completer: &str,
        script: &mut dyn Write,
    ) -> io::Result<()> {
        let mut plain = Vec::new();
        Plain.write_registration(variable, name, program, completer, &mut plain)?;
        let name = name.replace('-', "_");
        let plain = String::from_utf8_lossy(&plain)
            .replace(&format!("-F _clap_complete_{name}"), &format!("-F _complete_{name}"));
        writeln!(script, "{}\n{}", plain.trim(), AT_SIGNS.replace("NAME", &name).trim())
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        words: Vec<OsString>,
        folder: Option<&Path>,
        answer: &mut dyn Write,
    ) -> io::Result<()> {
        Plain.write_complete(command, words, folder, answer)
    }
}
