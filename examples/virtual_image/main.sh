# Runs inside the machine: for each station of a table `station;temperature` its least, mean and greatest temperature.
# Usage: main.sh TABLE
table=$IEXEC_IN/${1:-stations.csv}
[ -f "$table" ] || { echo "no input named ${1:-stations.csv}" >&2; exit 1; }
awk -F';' '
  NR > 1 {
    n[$1]++; sum[$1] += $2
    if (!($1 in low) || $2 < low[$1]) low[$1] = $2
    if (!($1 in high) || $2 > high[$1]) high[$1] = $2
  }
  END { for (s in n) printf "%s;%.1f;%.1f;%.1f;%d\n", s, low[s], sum[s] / n[s], high[s], n[s] }
' "$table" | sort > summary.csv
echo "$(wc -l < summary.csv) stations"
