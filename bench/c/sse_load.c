// sse_load: hold N server-sent-event connections, count events, loss and delay. One thread, epoll.
// build: cc -O2 -o sse_load sse_load.c
// use:   sse_load -p PORT -n CONNS -u '/sse/connect/u%d' -d SECONDS [-a ADDR] [-H 'Name: v']... [-T FILE of one bearer token a line] [-r ramp conns/s] [-s slow read fraction 0..1]
// -e N: end as soon as every connection has had N events (hub.open counts as one); "all_s" is when that was.
// An event is a blank line after at least one 'data' line. A stamp 'T=<ns CLOCK_MONOTONIC>;' in the data gives the delay,
// a stamp 'N=<seq>;' gives per-connection order and loss. An event may carry many. Prints a line a second, then one JSON line.
#define _GNU_SOURCE
#define LINE 2048
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>
#include <fcntl.h>
#include <time.h>
#include <signal.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
typedef struct { int fd; int state; /*0 connecting 1 header 2 stream 3 dead*/ long events; long lastseq; long gaps; long dups; int has_data; int linelen; char line[LINE]; } conn;
static long long now_ns(void){ struct timespec t; clock_gettime(CLOCK_MONOTONIC,&t); return t.tv_sec*1000000000LL+t.tv_nsec; }
static long firsts[4000]; static long long stamps=0; // delays of what is stamped N=0, and how many stamps came
static long hist[4000]; // 0.05 ms buckets up to 200ms then last
static long long total=0, bytes=0, comments=0, maxdelay=0; static volatile int stop=0;
static void onsig(int s){ stop=1; }
static void line(conn*c){
  char*l=c->line; int n=c->linelen; if(n&&l[n-1]=='\r') n--; l[n<LINE-1?n:LINE-1]=0;
  if(n==0){ if(c->has_data){ c->events++; total++; } c->has_data=0; return; }
  if(l[0]==':'){ comments++; return; }
  if(!strncmp(l,"data",4)){ c->has_data=1; char*p=l; long long d=-1; while((p=strpbrk(p,"TN"))){ if(p[1]!='='){ p++; continue; } if(*p=='T'){ d=now_ns()-strtoll(p+2,0,10); stamps++; if(d>=0){ if(d>maxdelay)maxdelay=d; long b=d/50000; if(b>3999)b=3999; hist[b]++; } p+=2; continue; }
    long s=strtol(p+2,0,10); if(c->lastseq>=0){ if(s>c->lastseq+1) c->gaps+=s-c->lastseq-1; else if(s<=c->lastseq) c->dups++; } if(s>c->lastseq) c->lastseq=s; if(s==0&&d>=0){ long b=d/50000; if(b>3999)b=3999; firsts[b]++; } p+=2; } }
}
static double pct_of(long*h,double q){ long n=0,a=0; for(int i=0;i<4000;i++) n+=h[i]; if(!n) return -1; for(int i=0;i<4000;i++){ a+=h[i]; if(a>=q*n) return (i+1)*0.05; } return -1; }
static double pct(double q,long n){ return n?pct_of(hist,q):-1; }
int main(int ac,char**av){
  int port=8080,n=100,ramp=5000; double dur=10; const char*u="/sse/connect/u%d",*addr="127.0.0.1",*tokf=0; char hdr[4096]=""; int o, quiet=0; int first=0; long enough=0; int stall=0; int satisfied=0; double alls=-1;
  while((o=getopt(ac,av,"p:n:u:d:a:H:T:r:qf:e:s"))!=-1) switch(o){case 'p':port=atoi(optarg);break;case 'n':n=atoi(optarg);break;case 'u':u=optarg;break;case 'd':dur=atof(optarg);break;case 'a':addr=optarg;break;case 'H':strcat(hdr,optarg);strcat(hdr,"\r\n");break;case 'T':tokf=optarg;break;case 'r':ramp=atoi(optarg);break;case 'q':quiet=1;break;case 'e':enough=atol(optarg);break;case 's':stall=1;break;case 'f':first=atoi(optarg);break;}
  signal(SIGINT,onsig); signal(SIGTERM,onsig); signal(SIGPIPE,SIG_IGN);
  conn*cs=calloc(n,sizeof(conn)); FILE*tf=tokf?fopen(tokf,"r"):0; int ep=epoll_create1(0); struct epoll_event ev,evs[512];
  long long t0=now_ns(),lastp=t0; int opened=0,alive=0,dead=0; long long lasttot=0; char*buf=malloc(1<<18); long bad=0; long long tconn=0;
  while(!stop){ long long t=now_ns(); double el=(t-t0)/1e9; if(el>dur) break;
    int want=(int)(el*ramp)+1; if(want>n) want=n;
    while(opened<want){ conn*c=&cs[opened]; c->lastseq=-1; int fd=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0); if(fd<0){perror("socket");exit(1);} int one=1; setsockopt(fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);
      struct sockaddr_in src={.sin_family=AF_INET}; char sa[32]; snprintf(sa,32,"127.0.0.%d",1+opened/20000); inet_pton(AF_INET,sa,&src.sin_addr); setsockopt(fd,IPPROTO_IP,IP_BIND_ADDRESS_NO_PORT,&one,sizeof one); bind(fd,(void*)&src,sizeof src);
      struct sockaddr_in d={.sin_family=AF_INET,.sin_port=htons(port)}; inet_pton(AF_INET,addr,&d.sin_addr);
      if(connect(fd,(void*)&d,sizeof d)<0&&errno!=EINPROGRESS){perror("connect");exit(1);} c->fd=fd; ev.events=EPOLLOUT; ev.data.u32=opened; epoll_ctl(ep,EPOLL_CTL_ADD,fd,&ev); opened++; }
    int k=epoll_wait(ep,evs,512,opened<n?1:100);
    for(int i=0;i<k;i++){ int id=evs[i].data.u32; conn*c=&cs[id];
      if(c->state==0){ int e=0; socklen_t sl=sizeof e; getsockopt(c->fd,SOL_SOCKET,SO_ERROR,&e,&sl); if(e){ c->state=3; dead++; close(c->fd); continue; }
        char path[512],req[8192],tok[4096]=""; snprintf(path,512,u,id+first); if(tf){ if(fgets(tok,4096,tf)) tok[strcspn(tok,"\n")]=0; }
        int m=snprintf(req,8192,"GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\n%s%s%s%s\r\n",path,addr,port,hdr,tok[0]?"Authorization: Bearer ":"",tok,tok[0]?"\r\n":"");
        if(write(c->fd,req,m)!=m){ c->state=3; dead++; close(c->fd); continue; } c->state=1; if(stall){ epoll_ctl(ep,EPOLL_CTL_DEL,c->fd,0); continue; } ev.events=EPOLLIN; ev.data.u32=id; epoll_ctl(ep,EPOLL_CTL_MOD,c->fd,&ev); continue; }
      ssize_t r=read(c->fd,buf,1<<18); if(r<=0){ if(r<0&&errno==EAGAIN) continue; if(c->state==2) alive--; c->state=3; dead++; close(c->fd); continue; }
      bytes+=r; for(ssize_t j=0;j<r;j++){ char ch=buf[j];
        if(ch=='\n'){ if(c->state==1){ int L=c->linelen; if(L&&c->line[L-1]=='\r')L--; c->line[L]=0; if(!strncmp(c->line,"HTTP/1.1 ",9)&&strncmp(c->line+9,"200",3)){ bad++; if(bad<4) fprintf(stderr,"%s\n",c->line);} if(L==0){ c->state=2; alive++; if(alive==n) tconn=now_ns()-t0; } }
          else { long had=c->events; line(c); if(enough&&had<enough&&c->events>=enough&&++satisfied==n){ alls=(now_ns()-t0)/1e9; stop=1; } } c->linelen=0; }
        else if(c->linelen<LINE-1) c->line[c->linelen++]=ch; } }
    t=now_ns(); if(t-lastp>1000000000LL){ if(!quiet) fprintf(stderr,"t=%.0f opened=%d alive=%d dead=%d ev/s=%lld\n",(t-t0)/1e9,opened,alive,dead,(total-lasttot)*1000000000LL/(t-lastp)); lasttot=total; lastp=t; } }
  long nh=0; for(int i=0;i<4000;i++) nh+=hist[i]; long mn=1<<30,mx=0,gaps=0,dups=0; for(int i=0;i<n;i++){ if(cs[i].events<mn)mn=cs[i].events; if(cs[i].events>mx)mx=cs[i].events; gaps+=cs[i].gaps; dups+=cs[i].dups; }
  printf("{\"conns\":%d,\"alive\":%d,\"dead\":%d,\"non200\":%ld,\"connect_s\":%.2f,\"all_s\":%.2f,\"events\":%lld,\"bytes\":%lld,\"comments\":%lld,\"min_ev\":%ld,\"max_ev\":%ld,\"gaps\":%ld,\"dups\":%ld,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"p999_ms\":%.2f,\"max_ms\":%.1f,\"stamps\":%lld,\"first_p50_ms\":%.2f}\n",n,alive,dead,bad,tconn/1e9,alls,total,bytes,comments,mn,mx,gaps,dups,pct(.5,nh),pct(.99,nh),pct(.999,nh),maxdelay/1e6,stamps,pct_of(firsts,.5));
}
