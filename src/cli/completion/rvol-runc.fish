# fish completion for rvol-runc, which itself knows the commands, flags, container ids and volume names: the words up to
# the cursor are handed to `rvol-runc completion candidates`.

function __rvol_runc_candidates
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l path (string replace -r '^--[^=]*=' '' -- $typed)
    set -l before (string sub -l (math (string length -- "$typed") - (string length -- "$path")) -- "$typed")
    for line in ($program completion candidates $words[2..-1] "$typed" 2>/dev/null)
        switch $line
            case :files
                printf '%s\n' $before(__fish_complete_path "$path")
            case :directories
                printf '%s\n' $before(__fish_complete_directories "$path")
            case '*'
                printf '%s\n' $line
        end
    end
end

complete -c rvol-runc -f -a '(__rvol_runc_candidates)'
