# Waits until the other end of its input is gone, whatever became of the process that held it, then ends
# the server of the folder $1 and removes the folder.
trap '' HUP INT TERM
folder=$1
lock=$folder/data/postmaster.pid
while read -r _; do :; done

rounds=0
while [ -e "$folder" ] && [ "$rounds" -lt 20 ]; do
    # The server removes its lock file when the last of its processes is gone.
    waits=0
    while [ "$waits" -lt 500 ] && read -r pid <"$lock"; do
        if [ "$waits" -eq 0 ]; then kill -QUIT "$pid"; fi
        if [ "$waits" -eq 499 ]; then kill -KILL "$pid"; fi
        waits=$((waits + 1))
        sleep 0.02
    done
    # Fails once and is tried again when a file was made in the meantime.
    rm -rf "$folder" || sleep 0.1
    rounds=$((rounds + 1))
done
