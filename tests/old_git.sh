#!/bin/sh
# What git 2.25.1 (Ubuntu 20.04) is to us: the real one, except that it refuses what came later. REAL_GIT says where that is.
case "$1" in version | --version) echo "git version 2.25.1"; exit ;; esac
for argument in "$@"; do
    case "$argument" in
        --initial-branch* | --object-format* | --no-write-fetch-head | --write-tree | --object-id | --diff-algorithm*)
            echo "error: unknown option \`${argument#--}'" >&2
            exit 129 ;;
    esac
done
unset GIT_CONFIG_GLOBAL  # 2.32
exec "$REAL_GIT" "$@"
