# What the scripts of this folder share. In: $cache, the folder target/vm.

# Runs a program of target/vm/tools, or of this machine if it has that: tool FILE ARGV0 ARGUMENT...
tool() {
    local file=$1 name=$2 path
    shift 2
    for path in "$cache"/tools/{usr/,}{s,}bin/"$file" "$(command -v "$name" || true)"; do
        if [ -x "$path" ]; then
            local libraries=$cache/tools/usr/lib/x86_64-linux-gnu:$cache/tools/lib/x86_64-linux-gnu
            (export LD_LIBRARY_PATH="$libraries" && exec -a "$name" "$path" "$@")
            return
        fi
    done
    echo "$name is neither in target/vm/tools nor on this machine" >&2
    return 1
}
