#compdef rvol-runc
#
# zsh completion for rvol-runc, which itself knows the commands, flags, container ids and volume names: the words up to
# the cursor are handed to `rvol-runc completion candidates`.

_rvol-runc() {
    local -a lines values descriptions
    local line value paths=
    lines=("${(@f)$("${(Q)words[1]/#\~\//$HOME/}" completion candidates "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
    for line in $lines; do
        case $line in
        (:files|:directories) paths=${line#:} ;;
        (*)
            value=${line%%$'\t'*}
            values+=("$value")
            if [[ $line == *$'\t'* ]]; then
                descriptions+=("$value -- ${line#*$'\t'}")
            else
                descriptions+=("$value")
            fi
            ;;
        esac
    done
    # The description takes a line of its own: -l.
    (( $#values )) && compadd -l -d descriptions -a values
    [[ $words[CURRENT] == --*=* ]] && compset -P '*='
    case $paths in
    (files) _files ;;
    (directories) _files -/ ;;
    esac
}

# As a function of fpath, this file is the body of _rvol-runc; sourced, it defines and registers it.
if [[ ${funcstack[1]} == _rvol-runc ]]; then
    _rvol-runc "$@"
else
    compdef _rvol-runc rvol-runc
fi
