from bigram import Bigram, sit

sit(Bigram())
