# Makes a folder, says which, and keeps watch over the one program that works in it: initdb first, the
# server then. When standard input ends, and so whoever started this has ended or wants no more,
# stops the program and removes the folder.
#
# Argument: where to make the folder. Lines read from standard input:
#   initdb PID, postgres PID   the program that now runs, which leads a process group of its own
#   signal NAME                send it that signal
#   gone                       it has ended

trap '' HUP INT QUIT TERM PIPE
PATH=${PATH:-}:/usr/bin:/bin
folder=$(mktemp -d "$1/pg.XXXXXX" 2>&1) || {
    echo "cannot make a folder: $folder"
    exit 1
}
echo "$folder"
exec >/dev/null 2>&1

program=
while read -r word value; do
    case $word in
        initdb | postgres) program=$word pid=$value ;;
        signal) [ -z "$program" ] || kill -s "$value" "$pid" ;;
        gone) program= ;;
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
    # An immediate shutdown: no checkpoint, shared memory freed.
    postgres) await QUIT "$pid" 500 || await KILL "-$pid" 100 ;;
esac

tries=50
until rm -rf "$folder"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || break
    sleep 0.1 || sleep 1
done
