# Makes a folder, says which, and keeps watch over the one program that works in it: initdb or
# pg_basebackup first, the server then; or pgbouncer. When standard input ends, and so whoever started this has ended or wants no more,
# stops the program and removes the folder.
#
# Argument: where to make the folder. Lines read from standard input:
#   initdb PID, postgres PID,  the program that now runs, which leads a process group of its own
#   pg_basebackup PID,
#   pgbouncer PID
#   signal NAME                send it that signal, and end its pause
#   gone                       it has ended
#   pause, resume              stop the server and all its processes, let them go on; says "done"
#                              once that is so, "failed" if it cannot be done

trap '' HUP INT QUIT TERM PIPE
PATH=${PATH:-}:/usr/bin:/bin
folder=$(mktemp -d "$1/pg.XXXXXX" 2>&1) || {
    echo "cannot make a folder: $folder"
    exit 1
}
echo "$folder"
exec 2>/dev/null

# What the server has started: these processes lead groups of their own.
children() {
    if [ -r /proc/self/stat ]; then
        cat /proc/[0-9]*/stat | sed -n "s/^\([0-9]*\) (.*) [^ ] $pid .*/\1/p"
    else
        ps -A -o pid=,ppid= | sed -n "s/^ *\([0-9]*\) *$pid *\$/\1/p"
    fi
}

# Stops these processes and waits a while until they are stopped, or have ended.
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

# The server first: it then starts no more.
pause() {
    [ "$program" = postgres ] || return 1
    paused=$pid
    freeze "$pid" || return 1
    paused="$(children) $pid"
    freeze $paused
}

# Whoever of them has ended, also the server: what goes on sees that.
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

# Whether anything of the group still runs. On Linux what has ended but was not waited for does not
# count: in a container there is often nobody to do that.
running() {
    kill -s 0 -- "-$pid" || return 1
    [ ! -r /proc/self/stat ] || cat /proc/[0-9]*/stat | grep -q ") [^ZX] [0-9]* $pid "
}

# Sends the signal to the process or group and waits a while for the end.
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
    # Without initdb, what it has started comes to the end of its input and tidies up. A signal would
    # leave shared memory behind.
    initdb) await KILL "$pid" 500 || await QUIT "-$pid" 100 || await KILL "-$pid" 100 ;;
    # These leave nothing behind but files.
    pg_basebackup | pgbouncer) await KILL "-$pid" 100 ;;
    # An immediate shutdown: no checkpoint, shared memory freed. What is stopped sees it when it goes on.
    postgres) kill -s QUIT "$pid"; resume; await QUIT "$pid" 500 || await KILL "-$pid" 100 ;;
esac

tries=50
until rm -rf "$folder"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || break
    sleep 0.1 || sleep 1
done
