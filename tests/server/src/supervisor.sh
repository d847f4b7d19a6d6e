# Creates a directory, prints its path, and supervises the program that runs in it, one at a time: initdb
# or pg_basebackup, then postgres; or pgbouncer. At the end of standard input, which comes when the process
# that started this script has ended or has closed the pipe, stops the program and deletes the directory.
#
# Argument: the parent of the directory. Lines read from standard input:
#   initdb PID, postgres PID,  the program that now runs, as the leader of its own process group
#   pg_basebackup PID,
#   pgbouncer PID
#   signal NAME                send this signal to the program, and end its pause
#   gone                       the program has ended
#   pause, resume              suspend or resume all processes of the server; print "done" afterwards, or
#                              "failed" if that is not possible

trap '' HUP INT QUIT TERM PIPE
PATH=${PATH:-}:/usr/bin:/bin
dir=$(mktemp -d "$1/pg.XXXXXX" 2>&1) || {
    echo "cannot create a directory: $dir"
    exit 1
}
echo "$dir"
exec 2>/dev/null

# Prints the child processes of the server. Each of them has its own process group.
children() {
    if [ -r /proc/self/stat ]; then
        cat /proc/[0-9]*/stat | sed -n "s/^\([0-9]*\) (.*) [^ ] $pid .*/\1/p"
    else
        ps -A -o pid=,ppid= | sed -n "s/^ *\([0-9]*\) *$pid *\$/\1/p"
    fi
}

# Suspends these processes and waits until each is suspended or has ended.
freeze() {
    kill -s STOP "$@"
    tries=500
    for one; do
        while
            if [ -r /proc/self/stat ]; then
                state=$(sed 's/.*) //' "/proc/$one/stat")
            else
                state=$(ps -o stat= -p "$one")
            fi
            case $state in [TtZX]* | '') false ;; esac
        do
            tries=$((tries - 1))
            [ "$tries" -gt 0 ] || return 1
            sleep 0.01 || sleep 1
        done
    done
}

# Suspends the postmaster first, so that it does not start more processes.
pause() {
    [ "$program" = postgres ] || return 1
    paused=$pid
    freeze "$pid" || return 1
    paused="$(children) $pid"
    freeze $paused
}

# Resumes the suspended processes, also if some of them or the postmaster have ended.
resume() {
    [ -z "$paused" ] || kill -s CONT $paused
    paused=
}

program= paused=
while read -r word value; do
    case $word in
        initdb | pg_basebackup | postgres | pgbouncer) program=$word pid=$value ;;
        signal) [ -z "$program" ] || kill -s "$value" "$pid"; resume ;;
        gone) resume; program= ;;
        pause) if pause; then echo done; else echo failed; fi ;;
        resume) resume; echo done ;;
    esac
done

# Returns whether the process group still has a running process. On Linux, zombies do not count: many
# containers have no init process that waits for them.
running() {
    kill -s 0 -- "-$pid" || return 1
    [ ! -r /proc/self/stat ] || cat /proc/[0-9]*/stat | grep -q ") [^ZX] [0-9]* $pid "
}

# Sends the signal to the process or group and waits for the end of the group.
await() {
    kill -s "$1" -- "$2"
    tries=$3
    while running; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.02 || sleep 1
    done
}

case $program in
    # When initdb is gone, the postgres that it has started reads the end of its input and cleans up. A
    # signal to that postgres would leave shared memory behind.
    initdb) await KILL "$pid" 500 || await QUIT "-$pid" 100 || await KILL "-$pid" 100 ;;
    # These programs leave only files behind.
    pg_basebackup | pgbouncer) await KILL "-$pid" 100 ;;
    # An immediate shutdown: no checkpoint, but shared memory is freed. Suspended processes get the signal
    # when they are resumed.
    postgres) kill -s QUIT "$pid"; resume; await QUIT "$pid" 500 || await KILL "-$pid" 100 ;;
esac

tries=50
until rm -rf "$dir"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || break
    sleep 0.1 || sleep 1
done
