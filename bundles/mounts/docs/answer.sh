# Runs in the container: answers the question that the host writes to the shared directory, in the same directory.
until [ -e question ]; do
    usleep 20000
done
{
    echo "$(hostname) read: $(cat question)"
    echo "/docs: $(touch /docs/new 2>&1 && echo writable)"
    echo "/: $(touch /new 2>&1 && echo writable)"
} >answer.new
mv answer.new answer
exec sleep 1000
