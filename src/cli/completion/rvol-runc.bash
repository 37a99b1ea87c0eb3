# bash completion for rvol-runc
#
# rvol-runc itself knows the commands, flags, container ids and volume names: the words up to the cursor are handed to
# `rvol-runc completion candidates`. Nothing of bash-completion is needed. What is typed is never evaluated.

_rvol_runc() {
    # Bash splits words at = and : too (COMP_WORDBREAKS). Parts without a space between them are one word again.
    local rest=${COMP_LINE:0:COMP_POINT} words=() part i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if [[ $rest == [[:space:]]* || $i -eq 0 ]]; then
            rest=${rest#"${rest%%[![:space:]]*}"}
            words+=("")
        fi
        # The last word ends at the cursor.
        ((i < COMP_CWORD)) || part=$rest
        words[${#words[@]} - 1]+=$part
        rest=${rest#"$part"}
    done
    local typed=${words[${#words[@]} - 1]} program=${words[0]/#\~\//$HOME/} line candidate paths=
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
        :files | :directories) paths=${line#:} ;;
        ?*) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <("$program" completion candidates "${words[@]:1}" 2>/dev/null)
    # Readline replaces only what follows the last = or :.
    local before=${typed%"${typed##*[=:]}"}
    if [[ $COMP_WORDBREAKS != *[=:]* ]]; then
        before=
    fi
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
        COMPREPLY[i]=${COMPREPLY[i]#"$before"}
    done
    if [[ -n $paths ]]; then
        compopt -o filenames 2>/dev/null
        local action=-f path=${typed#--*=}
        [[ $paths == files ]] || action=-d
        while IFS= read -r candidate; do
            COMPREPLY+=("$candidate")
        done < <(compgen "$action" -- "$path")
    fi
}

complete -F _rvol_runc rvol-runc
