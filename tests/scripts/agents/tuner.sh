#!/bin/sh
# A whole agent in shell: sets a constant to a value that was not tried, and says so.
set -e
value=0.0$((50 + $(grep -c '^## #' LEDGER.md)))
sed -i "s/^MATRIX_LR = .*/MATRIX_LR = $value/" train.py
printf 'Matrix rate %s\n\nHYPOTHESIS: more steps of the same kind\nare worth a try.\n' "$value" > IDEA.md
echo "set MATRIX_LR to $value"
