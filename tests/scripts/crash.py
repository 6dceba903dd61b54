LR = 0.04
print("starting")
raise ValueError("shapes (3,4) and (5,6) do not match")
