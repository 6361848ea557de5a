#!/bin/bash
# AI Sandbox: turns a fresh Debian or Ubuntu into a private AI box, with an OpenAI-compatible API
# on port 8000 and a chat page on port 3000. Runs as root at first boot, as a Linode StackScript,
# or by hand: bash stackscript.sh [--bake [--gpu]]
#
# <UDF name="MODEL_ID" label="Model ID" default="mistralai/Mistral-7B-Instruct-v0.3" example="Any model of Hugging Face, such as Qwen/Qwen3-0.6B. You can change it later in /etc/ai-sandbox.env." />
# <UDF name="HF_TOKEN_PASSWORD" label="Hugging Face token (only for gated or private models)" default="" />
# <UDF name="ACCESS" label="Access (open: no key and no login, guard the ports with a Cloud Firewall; protected: the API wants a key, the chat page a login)" oneOf="open,protected" default="open" />
# <UDF name="API_KEY_PASSWORD" label="API key, at least 8 characters (empty: with protected access, one is made for you)" default="" />
# <UDF name="MAX_MODEL_LEN" label="Context length in tokens" default="auto" example="auto takes the longest that fits the GPU; or a number, such as 16384." />
#
# The fields arrive as environment variables and go to the installer as they are: nothing here
# reads them. Other variables:
#   AI_SANDBOX_SOURCE  install from this folder (a clone) or archive, in place of the release
#   AI_SANDBOX_ROOT    for tests: where /var/log, /etc/motd and /dev/ttyS0 are looked for
set -euo pipefail

# The release that is installed. `make release` fills them in; empty in a copy for development.
RELEASE_URL=''
RELEASE_SHA256=''

ROOT=${AI_SANDBOX_ROOT:-}
LOG=$ROOT/var/log/stackscript.log
MOTD=$ROOT/etc/motd
CONSOLE=$ROOT/dev/ttyS0
# At first boot cloud-init and unattended upgrades hold apt's locks for a while.
LOCK_WAIT_S=1200

# What is being done, and why it failed: for the message of the day.
doing='Starting'
reason=''
options=''
scratch=''
logger=''

say() { printf '%s\n' "$*"; }

begin() {
    doing=$1
    say "$1."
}

die() {
    reason=$1
    say "stackscript.sh: $1" >&2
    exit "${2:-1}"
}

main() {
    # Linode starts it with an empty environment.
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export HOME=${HOME:-/root} LC_ALL=C.UTF-8
    # apt asks nobody, and Ubuntu's needrestart restarts no services that are not ours.
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    # What is installed must be readable by the services' users.
    umask 022
    check_usage "$@"
    options=$*
    start_log
    trap finish EXIT
    say "AI Sandbox: stackscript.sh started at $(date --utc '+%F %T') UTC."
    scratch=$(mktemp -d)
    ensure_packages
    get_source "$scratch/source"
    hand_over "$scratch/source" "$@"
}

check_usage() {
    local word
    for word in "$@"; do
        case $word in
        --bake | --gpu) ;;
        -h | --help)
            say 'bash stackscript.sh                install AI Sandbox on this machine, and start it'
            say 'bash stackscript.sh --bake         prepare this machine to become an image'
            say 'bash stackscript.sh --bake --gpu   the same, for machines with a GPU, on one without'
            exit 0
            ;;
        *) die "$word is not understood; the options are --bake and --gpu." 2 ;;
        esac
    done
    ((EUID == 0)) || die 'It must run as root: put sudo in front of the command.'
}

# Everything from here on is shown, on Linode's console too, and kept in the log.
start_log() {
    local outputs=("$LOG")
    mkdir -p "${LOG%/*}" "${MOTD%/*}"
    (umask 077 && : >>"$LOG")
    chmod 600 "$LOG"
    if [[ -c $CONSOLE && ! /dev/stdout -ef $CONSOLE ]] && (: >"$CONSOLE") 2>/dev/null; then
        outputs+=("$CONSOLE")
    fi
    # It outlives Ctrl-C and a reader that went away, to keep the last lines.
    exec > >(exec tee --append --ignore-interrupts --output-error=warn-nopipe "${outputs[@]}") 2>&1
    logger=$!
    # Nobody is there to answer a question.
    exec </dev/null
}

# Ends with the status that the script had.
finish() {
    local status=$?
    trap - EXIT
    set +e
    ((status == 0)) || say "AI Sandbox was not installed (status $status). The log is $LOG."
    # The log is whole when its writer has ended.
    exec >/dev/null 2>&1
    wait "$logger"
    if ((status != 0)); then
        # The installer says better than this script what failed in it.
        [[ -e $scratch/handed-over && $MOTD -nt $scratch/handed-over ]] || is_serving ||
            write_failure "$status"
    elif [[ $options == *--bake* ]]; then
        rm -f "$LOG"
    fi
    [[ -z $scratch ]] || rm -rf "$scratch"
    exit "$status"
}

# True when an installation from before serves on: then its message at login stays.
is_serving() {
    [[ -e $ROOT/opt/ai-sandbox/current ]] && systemctl is-active --quiet ai-sandbox-api &&
        systemctl is-active --quiet ai-sandbox-ui
}

# What people read at the next login.
write_failure() {
    local again='the StackScript'
    [[ ! -f $0 ]] || again="bash $(realpath -- "$0")${options:+ $options}"
    [[ -z ${AI_SANDBOX_SOURCE:-} ]] || again="AI_SANDBOX_SOURCE=${AI_SANDBOX_SOURCE@Q} $again"
    [[ -n $reason ]] || reason=$(said_by_the_installer)
    # For `ai-sandbox uninstall`.
    [[ -e $MOTD.before-ai-sandbox || ! -e $MOTD ]] || cp -p "$MOTD" "$MOTD.before-ai-sandbox"
    cat >"$MOTD" <<END

AI Sandbox was NOT installed on this machine.

  What failed:  ${reason:-$doing ended with status $1.}
  The log:      $LOG
  Run it again: $again
                What was typed into the form is not kept: put it in front of the
                command, for example MODEL_ID=Qwen/Qwen3-0.6B

END
}

# The sentences with which the installer ended, from this run's part of the log. A message of more
# than one line goes on indented.
said_by_the_installer() {
    awk '/stackscript.sh started at/ { said = "" }
        sub(/^ai-sandbox: /, "") || (goes_on && sub(/^  /, "")) {
            said = said (said ? "\n                " : "") $0
            goes_on = 1
            next
        }
        { goes_on = 0 }
        END { print said }' "$LOG"
}

ensure_packages() {
    local missing=()
    # A minimal system may have a Python without its standard library.
    python3 -c 'import ssl, tarfile' 2>/dev/null || missing+=(python3)
    command -v curl >/dev/null || missing+=(curl)
    [[ -s /etc/ssl/certs/ca-certificates.crt ]] || missing+=(ca-certificates)
    ((${#missing[@]})) || return 0
    begin "Installing ${missing[*]}"
    command -v apt-get >/dev/null ||
        die "${missing[*]} must be installed first: there is no apt-get here, as on Debian and Ubuntu."
    update_package_lists
    # An upgrade that was interrupted, by a reboot for example, is completed.
    apt_get install --yes --no-install-recommends "${missing[@]}" ||
        { dpkg --configure -a && apt_get install --yes --no-install-recommends "${missing[@]}"; } ||
        die "apt-get could not install ${missing[*]}: see the log, and check the network."
}

apt_get() {
    apt-get --quiet -o DPkg::Lock::Timeout=$LOCK_WAIT_S \
        -o Acquire::Retries=3 "$@"
}

# apt-get waits for the lock of packages by itself, but not for that of their lists.
update_package_lists() {
    local output waited
    for ((waited = 0; ; waited += 5)); do
        output=$(apt_get update 2>&1) && return
        if [[ $output != *'Could not get lock'* ]] || ((waited >= LOCK_WAIT_S)); then
            say "$output"
            die 'apt-get could not update its package lists: see the log, and check the network.'
        fi
        sleep 5
    done
}

# Puts the code of a release into the folder $1.
get_source() {
    local from=${AI_SANDBOX_SOURCE:-} archive=$scratch/release.tar.gz output
    if [[ -d $from ]]; then
        begin "Packing $from"
        [[ -f $from/sandbox/install/pack.py ]] ||
            die "AI_SANDBOX_SOURCE is $from, which is not a copy of AI Sandbox."
        output=$(python3 -I "$from/sandbox/install/pack.py" archive "$archive" 2>&1) || die "$output"
    elif [[ -n $from ]]; then
        [[ -f $from ]] || die "AI_SANDBOX_SOURCE is $from, which is neither a folder nor a file."
        archive=$from
    elif [[ -n $RELEASE_URL ]]; then
        fetch_release "$archive"
    else
        die 'This copy of stackscript.sh is for development and names no release. Set AI_SANDBOX_SOURCE to a clone or an archive, or take the stackscript.sh that make release writes.'
    fi
    mkdir "$1"
    tar --extract --gzip --file "$archive" --directory "$1" --strip-components 1 --no-same-owner ||
        die "$archive could not be unpacked: it is not a whole .tar.gz archive."
    [[ -f $1/sandbox/install/bootstrap.py ]] || die "$archive is not a release of AI Sandbox."
}

fetch_release() {
    local sha256
    begin "Fetching $RELEASE_URL"
    curl --fail --location --silent --show-error --retry 5 --retry-delay 3 --retry-all-errors \
        --connect-timeout 20 --max-time 600 --output "$1" "$RELEASE_URL" ||
        die "The release could not be fetched from $RELEASE_URL: check this machine's network, and the address."
    sha256=$(sha256sum "$1")
    sha256=${sha256%% *}
    [[ $sha256 == "$RELEASE_SHA256" ]] ||
        die "What $RELEASE_URL gave is not the release that this script names, and was not unpacked: its sha256 is $sha256 and not $RELEASE_SHA256."
}

# The fields stay in the environment: on a command line every user could read them.
hand_over() {
    begin 'Installing AI Sandbox'
    : >"$scratch/handed-over"
    PYTHONUNBUFFERED=1 python3 "$1/sandbox/install/bootstrap.py" box "${@:2}"
}

main "$@"
